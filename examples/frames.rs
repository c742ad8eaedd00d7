//! Keeps several frames in flight on one session, without an async runtime: prints frames per second and latency with 1, 2 and 4 at a time.
//!
//! ```sh
//! cargo run --release --example frames                               # the bundled model on the default device
//! cargo run --release --example frames -- resnet50.safetensors vulkan
//! ```
//! The second argument is `auto`, `cpu`, or an adapter: `best`, its position, a part of its name. `auto` is the best hardware GPU, or CPU
//! threads if there is none. More frames in flight keep a GPU busy while the host prepares inputs and reads results. On the CPU the first
//! poll of `run_async` blocks until the run is done, so frames run one after the other.

use rmnet::{Device, Options, Session};
use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Number of frames timed for each number in flight.
const FRAMES: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let checkpoint = args.next().unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits").into());
    let device = match args.next().as_deref() {
        None | Some("auto") => Device::Auto,
        Some("cpu") => Device::Cpu,
        Some(adapter) => Device::Gpu(adapter.parse()?),
    };
    let session = Session::open(&checkpoint, &Options::default().device(device))?;
    println!("{} on {}", session.family(), session.device_name());

    // Different frames, each with the result of a separate run.
    let values =
        |seed: usize| (0..session.input_len()).map(move |i| ((i * 37 + seed * 11) % 101) as f32 / 50.5 - 1.0);
    let frames: Vec<Vec<f32>> = (0..8).map(|seed| values(seed).collect()).collect();
    let answers: Vec<Vec<f32>> = frames.iter().map(|frame| session.run(frame)).collect::<Result<_, _>>()?;
    let pairs: Vec<(&[f32], &[f32])> = frames.iter().zip(&answers).map(|(f, a)| (&f[..], &a[..])).collect();

    println!("in flight   frames/s   latency: median        p99");
    for in_flight in [1, 2, 4] {
        // Warm up: buffers for more concurrent runs are created when first needed.
        frames_per_second(&session, &pairs, in_flight, 2 * in_flight)?;
        let (rate, mut latencies) = frames_per_second(&session, &pairs, in_flight, FRAMES)?;
        latencies.sort();
        let ms = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
        println!("{in_flight:9} {rate:10.1} {:15.2} ms {:7.2} ms", ms(50), ms(99));
    }
    println!("all answers equal those of single runs");
    Ok(())
}

/// Runs `count` frames on this thread with `in_flight` at a time. Returns frames per second, and the latency of each from call to result.
fn frames_per_second(
    session: &Session,
    pairs: &[(&[f32], &[f32])],
    in_flight: usize,
    count: usize,
) -> Result<(f64, Vec<Duration>), Box<dyn Error>> {
    let next = Cell::new(0);
    let lane = async || {
        let mut latencies = vec![];
        while next.get() < count {
            let (frame, answer) = pairs[next.replace(next.get() + 1) % pairs.len()];
            let begun = Instant::now();
            let found = session.run_async(frame).await?;
            latencies.push(begun.elapsed());
            if found != answer {
                return Err("an answer differs from the single run's".into());
            }
        }
        Ok::<_, Box<dyn Error>>(latencies)
    };
    let begun = Instant::now();
    let lanes = pollster::block_on(all((0..in_flight).map(|_| lane())));
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, lanes.into_iter().collect::<Result<Vec<_>, _>>()?.concat()))
}

/// Polls futures together until all are done, as `join_all` of the crate `futures`.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut done = vec![];
    poll_fn(|context| {
        pending.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(value) => {
                done.push(value);
                false
            }
            Poll::Pending => true,
        });
        if pending.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}
