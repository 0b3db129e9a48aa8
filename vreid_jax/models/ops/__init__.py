"""Operations whose code is chosen by backend: 3-D convolution and pooling."""
