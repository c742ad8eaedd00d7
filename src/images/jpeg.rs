//! Decodes JPEG with `libjpeg-turbo-rs`, whose pixels equal those of libjpeg-turbo and Pillow bit for bit.
//!
//! The markers are read first. This refuses truncated files, unsupported modes and images that are too large before decoding, and finds
//! EXIF.

use super::pillow::{cmyk_to_rgb, luma};
use super::{
    ColorMode, Decoded, Format, ImageError, MAX_BYTES, Needs, Pixels, check_size, orientation, turned,
};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

/// Maximum scans. Progressive files usually have about ten; a hostile file could have many, and each costs time.
const MAX_SCANS: usize = 500;

/// Maximum bytes of the decoder besides planes, coefficients and pixels.
const DECODER: u64 = 1 << 20;

/// Memory that [`decode`] needs.
pub(super) fn needs(bytes: &[u8], mode: ColorMode) -> Result<Needs, ImageError> {
    let markers = Markers::walk(bytes)?;
    markers.frame.check(&markers, mode)
}

pub(super) fn decode(bytes: &[u8], mode: ColorMode) -> Result<Decoded, ImageError> {
    let markers = Markers::walk(bytes)?;
    let frame = &markers.frame;
    frame.check(&markers, mode)?;
    if mode == ColorMode::Rgba {
        return Err(ImageError::NoAlpha { found: "a JPEG image".into() });
    }
    let (format, stored) = match frame.components.len() {
        1 => (PixelFormat::Grayscale, 1),
        3 => (PixelFormat::Rgb, 3),
        _ => (PixelFormat::Cmyk, 4),
    };
    let limits = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let refuse = |e: JpegError| match e {
        JpegError::Unsupported(mode) => unsupported(mode),
        JpegError::AllocationFailed { bytes, .. } => {
            damaged(format!("memory for {bytes} bytes is not to be had"))
        }
        other => damaged(other.to_string()),
    };
    let mut decoder = Decoder::new_with_limits(&bytes[..markers.end], limits).map_err(refuse)?;
    decoder.set_output_format(format);
    let image = decoder.decode_image().map_err(refuse)?;
    if image.data.len() != frame.width * frame.height * stored {
        return Err(damaged(format!(
            "{} bytes of pixels for {}x{}",
            image.data.len(),
            frame.width,
            frame.height
        )));
    }
    let to_rgb = |pixel: &[u8]| match *pixel {
        [gray] => [gray; 3],
        [r, g, b] => [r, g, b],
        // Pillow assumes Adobe's polarity, where 255 means no ink.
        [c, m, y, k] => cmyk_to_rgb([255 - c, 255 - m, 255 - y, 255 - k]),
        _ => [0; 3],
    };
    let data = match (mode, format) {
        (ColorMode::Gray, PixelFormat::Grayscale) | (ColorMode::Rgb, PixelFormat::Rgb) => image.data,
        (ColorMode::Gray, _) => image.data.chunks_exact(stored).map(|p| luma(to_rgb(p))).collect(),
        _ => {
            let mut data = Vec::with_capacity(frame.width * frame.height * 3);
            image.data.chunks_exact(stored).for_each(|p| data.extend(to_rgb(p)));
            data
        }
    };
    let pixels = Pixels { width: frame.width, height: frame.height, channels: mode.channels(), data };
    let exif = (!markers.exif.is_empty()).then_some(&markers.exif[..]);
    Ok(Decoded { pixels, orientation: orientation::decide(exif, markers.xmp) })
}

fn damaged(reason: String) -> ImageError {
    ImageError::Damaged { format: Format::Jpeg, reason }
}

fn unsupported(mode: String) -> ImageError {
    ImageError::Unsupported { format: Format::Jpeg, mode }
}

/// A frame header.
struct Frame {
    /// The second byte of its marker, 0xc0 to 0xcf.
    kind: u8,
    precision: u8,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

/// A component of a frame.
struct Component {
    id: u8,
    /// Sampling factors.
    horizontal: u8,
    vertical: u8,
    /// Per coefficient, in zigzag order: the lowest bit sent so far; `None` before the first scan.
    sent: [Option<u8>; 64],
}

/// The content of a file's markers.
struct Markers<'a> {
    frame: Frame,
    scans: usize,
    exif: Vec<u8>,
    xmp: Option<&'a [u8]>,
    /// Position after the end-of-image marker; bytes from there on do not belong to the image.
    end: usize,
}

const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

impl<'a> Markers<'a> {
    /// Reads the markers from the start to the end of the first image.
    fn walk(bytes: &'a [u8]) -> Result<Markers<'a>, ImageError> {
        let cut = || damaged("the file ends before its end-of-image marker".into());
        let (mut frame, mut scans, mut exif, mut xmp) = (None, 0, vec![], None);
        let mut at = 2;
        loop {
            // Skip to the next marker, over entropy-coded bytes, restart markers, and bytes that decoders ignore.
            let marker = loop {
                let skip = bytes.get(at..).and_then(|b| b.iter().position(|b| *b == 0xff)).ok_or_else(cut)?;
                at += skip;
                match *bytes.get(at + 1).ok_or_else(cut)? {
                    0xff => at += 1,
                    0x00 | 0x01 | 0xd0..=0xd7 => at += 2,
                    marker => break marker,
                }
            };
            at += 2;
            if marker == 0xd9 {
                let frame = frame.ok_or_else(|| damaged("no frame before the end-of-image marker".into()))?;
                if scans == 0 {
                    return Err(damaged("no scan before the end-of-image marker".into()));
                }
                return Ok(Markers { frame, scans, exif, xmp, end: at });
            }
            if marker == 0xd8 {
                return Err(damaged(format!("a second start of image at byte {}", at - 2)));
            }
            let length = bytes.get(at..at + 2).ok_or_else(cut)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            if length < 2 {
                return Err(damaged(format!("a segment of {length} bytes at byte {at}, expected 2 or more")));
            }
            let segment = bytes.get(at + 2..at + length).ok_or_else(cut)?;
            at += length;
            match marker {
                0xda => {
                    scans += 1;
                    frame.as_mut().ok_or_else(|| damaged("a scan before its frame".into()))?.scan(segment)?;
                }
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if frame.is_some() => {
                    return Err(unsupported("hierarchical, more than one frame".into()));
                }
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    frame = Some(Frame::parse(marker, segment)?);
                }
                0xde => return Err(unsupported("hierarchical".into())),
                0xf7 => return Err(unsupported("JPEG-LS".into())),
                0xe1 if scans == 0 && segment.starts_with(EXIF) => {
                    exif.extend(if exif.is_empty() { segment } else { &segment[EXIF.len()..] });
                }
                0xe1 if scans == 0 && segment.starts_with(XMP) => xmp = Some(&segment[XMP.len()..]),
                _ => {}
            }
        }
    }
}

impl Frame {
    fn parse(kind: u8, segment: &[u8]) -> Result<Frame, ImageError> {
        let short = || damaged("a frame header that is too short".into());
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = segment else { return Err(short()) };
        let components = rest.chunks_exact(3).take(usize::from(count)).map(|c| Component {
            id: c[0],
            horizontal: c[1] >> 4,
            vertical: c[1] & 15,
            sent: [None; 64],
        });
        let components: Vec<Component> = components.collect();
        if components.len() != usize::from(count) {
            return Err(short());
        }
        let (height, width) = (u16::from_be_bytes([h1, h0]).into(), u16::from_be_bytes([w1, w0]).into());
        Ok(Frame { kind, precision, width, height, components })
    }

    /// Records which coefficients a scan sends.
    fn scan(&mut self, segment: &[u8]) -> Result<(), ImageError> {
        let short = || damaged("a scan header that is too short".into());
        let count = usize::from(*segment.first().ok_or_else(short)?);
        let (ids, rest) = segment[1..].split_at_checked(2 * count).ok_or_else(short)?;
        let &[first, last, bits, ..] = rest else { return Err(short()) };
        let (coefficients, low) = match self.kind {
            0xc2 => (usize::from(first)..usize::from(last.min(63)) + 1, bits & 15),
            _ => (0..64, 0),
        };
        for component in self.components.iter_mut().filter(|c| ids.chunks_exact(2).any(|i| i[0] == c.id)) {
            component.sent.get_mut(coefficients.clone()).ok_or_else(short)?.fill(Some(low));
        }
        Ok(())
    }

    /// Refuses unsupported or damaged files, and returns the memory needed.
    fn check(&self, markers: &Markers<'_>, mode: ColorMode) -> Result<Needs, ImageError> {
        self.check_header()?;
        let most = self.most_sampled()?;
        self.check_scans(markers.scans)?;
        let area = self.width as u64 * self.height as u64;
        let own = DECODER + 2 * markers.exif.len() as u64;
        let decoded = self.decoded_bytes(most, markers.scans, mode) + own;
        check_size(self.width, self.height, decoded)?;
        let upright = turned(area * mode.channels() as u64) + own;
        let bytes = decoded.max(upright.min(MAX_BYTES as u64)) as usize;
        Ok(Needs { width: self.width, height: self.height, bytes })
    }

    /// Checks the kind of the frame, its precision, its size and the number of its components.
    fn check_header(&self) -> Result<(), ImageError> {
        let kind = match self.kind {
            0xc3 => "lossless",
            0xc5 | 0xc6 | 0xcd | 0xce => "hierarchical (a differential frame)",
            0xc7 | 0xcf => "lossless hierarchical",
            0xcb => "lossless, arithmetic coding",
            0xc9 | 0xca => "arithmetic coding",
            _ => "",
        };
        if !kind.is_empty() {
            return Err(unsupported(kind.into()));
        }
        if self.precision != 8 {
            return Err(unsupported(format!("{}-bit samples, expected 8", self.precision)));
        }
        if self.height == 0 {
            return Err(unsupported("its height stands behind the first scan (DNL)".into()));
        }
        if self.width == 0 {
            return Err(damaged("a width of 0".into()));
        }
        if !matches!(self.components.len(), 1 | 3 | 4) {
            return Err(unsupported(format!("{} components, expected 1, 3 or 4", self.components.len())));
        }
        Ok(())
    }

    /// The largest sampling factors, horizontal and vertical. They must be those of luma, and multiples of the others.
    fn most_sampled(&self) -> Result<(u8, u8), ImageError> {
        let factors: Vec<(u8, u8)> = self.components.iter().map(|c| (c.horizontal, c.vertical)).collect();
        if factors.iter().any(|(h, v)| !(1..=4).contains(h) || !(1..=4).contains(v)) {
            return Err(damaged("a sampling factor that is not from 1 to 4".into()));
        }
        let most = |axis: fn(&(u8, u8)) -> u8| factors.iter().map(axis).max().unwrap_or(1);
        let (h_most, v_most) = (most(|c| c.0), most(|c| c.1));
        let list = || factors.iter().map(|(h, v)| format!("{h}x{v}")).collect::<Vec<_>>().join(", ");
        if factors[0] != (h_most, v_most) {
            return Err(unsupported(format!("luma sampled less than chroma ({})", list())));
        }
        if factors.iter().any(|(h, v)| h_most % h != 0 || v_most % v != 0) {
            return Err(unsupported(format!("fractional sampling ({})", list())));
        }
        Ok((h_most, v_most))
    }

    /// Checks that the scans send every component to its end, and that there are not too many of them.
    fn check_scans(&self, scans: usize) -> Result<(), ImageError> {
        if self.components.iter().any(|c| c.sent[0].is_none()) {
            return Err(damaged("a component that no scan holds".into()));
        }
        // libjpeg would estimate missing coefficients, to smooth an image that is still arriving.
        if self.components.iter().any(|c| c.sent[1..10].iter().any(|low| *low != Some(0))) {
            return Err(damaged("progressive scans that leave coefficients unfinished".into()));
        }
        if scans > MAX_SCANS {
            return Err(unsupported(format!("{scans} scans, expected up to {MAX_SCANS}")));
        }
        Ok(())
    }

    /// Bytes of the sampled planes in whole blocks, and of the pixels in the stored and the requested mode. With several scans also 2 bytes
    /// per coefficient.
    fn decoded_bytes(&self, (h_most, v_most): (u8, u8), scans: usize, mode: ColorMode) -> u64 {
        let [width, height] = [self.width as u64, self.height as u64];
        let blocks = |side: u64, most: u8| side.div_ceil(8 * u64::from(most)) * 8;
        let [across, down] = [blocks(width, h_most), blocks(height, v_most)];
        let plane = |c: &Component| across * u64::from(c.horizontal) * down * u64::from(c.vertical);
        let samples: u64 = self.components.iter().map(plane).sum();
        let coefficients = if scans > 1 { 2 * samples } else { 0 };
        let stored = self.components.len();
        let made = if stored == mode.channels() { 0 } else { mode.channels() };
        samples + coefficients + width * height * (stored + made) as u64
    }
}
