"""Operations on clips whose implementation is chosen by backend: convolution, its gradients, max-pooling."""
