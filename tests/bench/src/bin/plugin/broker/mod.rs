//! The host is a program and no library: what it speaks to a worker is taken in by its files, which find here what is
//! beside them there.
#![allow(dead_code, reason = "taken in whole")]

#[path = "../../../../../../host/src/broker/link.rs"]
pub mod link;
pub mod worker;
