//! Golden files: specifications and the steps they become.
