"""The features that every dataset of this package stores for a tracklet."""

import numpy as np
import tensorflow_datasets as tfds


def features() -> tfds.features.FeaturesDict:
    """Return the features: encoded frames (decoded RGB uint8 `[T, H, W, 3]`), identity, camera and a unique id.

    pid 0 is a distractor, pid -1 junk. A query that is also in the gallery has the same `tracklet_id` there.
    """
    return tfds.features.FeaturesDict(
        {
            "frames": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "pid": tfds.features.Scalar(np.int64),
            "camid": tfds.features.Scalar(np.int64),
            "tracklet_id": tfds.features.Text(),
        }
    )
