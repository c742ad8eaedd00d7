//! Pillow's conversions between modes.

pub(super) use crate::luma::luma;

/// `a * b / 255`, rounded.
fn mul_div_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

/// `CMYK` to `RGB`.
pub(super) fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let light = 255 - k;
    [c, m, y].map(|ink| light.saturating_sub(mul_div_255(ink, light)))
}
