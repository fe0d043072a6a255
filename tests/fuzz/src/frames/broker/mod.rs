//! The host is a program and no library: its reader is taken in by its files, which find here what is beside them there.

#[allow(dead_code)]
#[path = "../../../../../host/src/broker/link.rs"]
pub mod link;
pub mod worker;
