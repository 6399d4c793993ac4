//! Floors, nevers and doors, read from the source.
