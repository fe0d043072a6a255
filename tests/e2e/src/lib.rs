//! The end-to-end tests lie in `tests/`; the package has no library of its own to offer.
