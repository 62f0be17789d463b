"""x"""


def write_preview(a, b, c): ...
