//! Frames and streams of the host, and what is measured with them.

#[path = "../../../../../../../host/src/broker/worker/frame.rs"]
mod frame;
pub mod lane;
#[path = "../../../../../../../host/src/broker/worker/stream.rs"]
mod stream;
