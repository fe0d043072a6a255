//! The host.

// Each room is finished before the loop that uses it.
#[allow(dead_code)]
mod backend;
#[allow(dead_code)]
mod engine {
    pub(crate) mod input;
}

fn main() {}
