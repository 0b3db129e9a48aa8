"""What the server says when it does not do what was asked."""


class Refusal(Exception):
    """A request that is not answered: a status of HTTP, and one sentence for who sent it.

    The sentence goes out as it is, so it names nothing of the machine.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
