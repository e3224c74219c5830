"""The from-scratch Adam: the ruler that every framework is held against."""
