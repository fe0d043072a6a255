//! The order machine, told as stories.

mod clock;
mod doubt;
mod ends;
mod gates;
mod intake;
mod people;
mod restart;
#[path = "../support/mod.rs"]
mod support;
