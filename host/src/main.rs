//! The host.

// Each room is finished before the loop that uses it.
#[allow(dead_code)]
mod backend;
#[allow(dead_code)]
mod engine {
    pub(crate) mod input;
}
#[allow(dead_code)]
mod cli {
    pub(crate) mod plugins;
}
#[allow(dead_code, unused_imports)]
mod plugin;

fn main() {}
