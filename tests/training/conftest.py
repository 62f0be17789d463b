"""The tiny backbones of `tests/models`, for tests that train each family."""

from tests.models.conftest import backbone, frames, load_tiny, pytest_generate_tests

__all__ = ["backbone", "frames", "load_tiny", "pytest_generate_tests"]
