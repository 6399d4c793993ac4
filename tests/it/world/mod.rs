//! The test kit: fakes, actors, clocks.
