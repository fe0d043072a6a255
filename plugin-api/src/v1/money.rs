//! A decimal number as five plain fields: lossless, and without a float anywhere.

use abi_stable::StableAbi;

/// `(hi · 2^64 + mid · 2^32 + lo) / 10^scale`, negative when `neg` is 1. A scale goes up to 28.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
#[sabi(tag = abi_stable::tag!("qt/money/1: 96-bit mantissa, decimal scale"))]
pub struct RMoney {
    /// Lowest 32 bits of the mantissa.
    pub lo: u32,
    /// Middle 32 bits of the mantissa.
    pub mid: u32,
    /// Highest 32 bits of the mantissa.
    pub hi: u32,
    /// Digits behind the point, 0 to 28.
    pub scale: u8,
    /// 1 for a number below zero, else 0.
    pub neg: u8,
}
