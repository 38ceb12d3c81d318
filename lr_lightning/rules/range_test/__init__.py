"""The LR range test as pure rules: the ladder, the protocol, how the curve is read, what comes out."""
