//! Colours to gray.

/// `RGB` to Pillow's `L`: ITU-R 601 in 16-bit fixed point.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
