"""What is computed: outputs, gradients, low precision, and the promises of a method."""
