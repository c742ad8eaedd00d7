//! Bytes of PNG and JPEG files: refused, or pixels of the size they say.

use crate::source::Source;
use rmnet::images::{self, ColorMode, MAX_BYTES, Orientation};

/// A first byte below 100: the rest as it is. Below 180: a PNG file whose checksums are put right. Else a PNG of chunks.
pub fn images(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match *first {
        0..100 => decode(rest),
        100..180 => decode(&checked(rest)),
        _ => decode(&png(&mut Source::new(rest))),
    }
}

fn decode(bytes: &[u8]) {
    for mode in [ColorMode::Gray, ColorMode::Rgb, ColorMode::Rgba] {
        let upright = images::decode(bytes, mode, Orientation::Apply);
        match &upright {
            Ok(pixels) => {
                assert_eq!(pixels.channels, mode.channels());
                assert_eq!(pixels.data.len(), pixels.width * pixels.height * pixels.channels);
                assert!(pixels.data.len() <= MAX_BYTES && !pixels.data.is_empty());
                let plain = images::decode(bytes, mode, Orientation::Ignore).expect("it was decoded");
                assert_eq!(plain.data.len(), pixels.data.len());
            }
            Err(e) => drop(e.to_string()),
        }
    }
}

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

fn chunk(file: &mut Vec<u8>, kind: &[u8], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let sum = crc32fast::hash(&file[start..]);
    file.extend(sum.to_be_bytes());
}

/// The same chunks with their own checksums.
fn checked(bytes: &[u8]) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    let mut rest = bytes.strip_prefix(SIGNATURE).unwrap_or(bytes);
    while rest.len() >= 8 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let (kind, after) = rest[4..].split_at(4);
        let data = &after[..length.min(after.len())];
        chunk(&mut file, kind, data);
        rest = after.get(length.saturating_add(4)..).unwrap_or(&[]);
    }
    file
}

/// Adler-32.
fn adler(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), v| {
        let a = (a + u32::from(*v)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

/// A zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 1];
    let blocks = data.chunks(0xffff).count().max(1);
    for i in 0..blocks {
        let block = data.get(i * 0xffff..).unwrap_or(&[]);
        let block = &block[..block.len().min(0xffff)];
        stream.push(u8::from(i + 1 == blocks));
        stream.extend((block.len() as u16).to_le_bytes());
        stream.extend((!(block.len() as u16)).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler(data).to_be_bytes());
    stream
}

/// Any header, chunks in any order, and rows that are there or not.
fn png(s: &mut Source) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    let side = |s: &mut Source| if s.one_in(12) { s.seed() as u32 } else { s.within(0, 40) as u32 };
    let (width, height) = (side(s), side(s));
    let colour = *s.pick(&[2, 0, 3, 4, 6, 1, 7]);
    let depth = *s.pick(&[8, 1, 2, 4, 16, 3]);
    let interlaced = u8::from(s.one_in(4));
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth, colour, 0, 0, interlaced]);
    chunk(&mut file, b"IHDR", &header);
    let channels = match colour {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let row = (width as usize).saturating_mul(channels * usize::from(depth)).div_ceil(8).saturating_add(1);
    let bytes = row.saturating_mul(height as usize).min(1 << 16);
    for _ in 0..s.within(0, 3) {
        match s.below(6) {
            0 => chunk(&mut file, b"PLTE", s.bytes(780)),
            1 => chunk(&mut file, b"tRNS", s.bytes(260)),
            2 => chunk(&mut file, b"eXIf", s.bytes(60)),
            3 => chunk(&mut file, b"gAMA", &45455u32.to_be_bytes()),
            4 => chunk(&mut file, b"iCCP", s.bytes(40)),
            _ => chunk(&mut file, b"tEXt", s.bytes(40)),
        }
    }
    if colour == 3 && !s.one_in(4) {
        chunk(&mut file, b"PLTE", &[7; 3 * 16]);
    }
    let length = if s.one_in(5) { s.within(0, bytes + 9) } else { bytes };
    let filters = [0, 1, 2, 3, 4, 5];
    let filter = *s.pick(&filters);
    let noise = s.bytes(200);
    let mut rows: Vec<u8> = noise.iter().copied().cycle().take(length).collect();
    rows.resize(length, 0);
    rows.iter_mut().step_by(row.max(1)).for_each(|v| *v = filter);
    let stream = stored(&rows);
    let cut = s.within(0, stream.len());
    if s.one_in(3) {
        chunk(&mut file, b"IDAT", &stream[..cut]);
        chunk(&mut file, b"IDAT", &stream[cut..]);
    } else {
        chunk(&mut file, b"IDAT", &stream);
    }
    if !s.one_in(6) {
        chunk(&mut file, b"IEND", &[]);
    }
    file
}
