//! The order machine, told as stories.

mod doubt;
mod ends;
mod intake;
mod people;
mod restart;
#[path = "../support/mod.rs"]
mod support;
