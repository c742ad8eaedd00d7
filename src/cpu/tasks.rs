//! How the work of a dispatch is divided between threads.

use super::scratch::Scratch;
use crate::threads::Crew;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Tasks per thread where there are many pixels, so that a thread that is held up does not hold up all.
const TASKS_PER_THREAD: usize = 4;
/// Fewest tiles of such a task.
const TILES_PER_TASK: usize = 8;

/// The work of a pass: pixels by panels.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) pixels: usize,
    /// Pixels of a tile.
    pub(super) tile: usize,
    pub(super) panels: usize,
    /// Whether panels should be divided before pixels are, since there are more weights than inputs and each thread reads its own.
    pub(super) by_panels: bool,
}

impl Parts {
    /// Parts of the pixels and of the panels, for `threads` threads.
    fn counts(self, threads: usize) -> [usize; 2] {
        let tiles = self.pixels.div_ceil(self.tile).max(1);
        let even = |n: usize| n.is_multiple_of(threads) || n >= 4 * threads;
        if threads == 1 {
            return [1, 1];
        }
        if tiles >= TASKS_PER_THREAD * TILES_PER_TASK * threads && !self.by_panels {
            return [TASKS_PER_THREAD * threads, 1];
        }
        if self.by_panels && even(self.panels) {
            return [
                1,
                self.panels.min(TASKS_PER_THREAD * threads).next_multiple_of(threads).min(self.panels),
            ];
        }
        // The division whose largest part is smallest; of equal ones, the one with the most pixels in a part.
        let load =
            |[p, q]: [usize; 2]| tiles.div_ceil(p) * self.panels.div_ceil(q) * (p * q).div_ceil(threads);
        let both = (1..=threads).map(|p| [p.min(tiles), threads.div_ceil(p).min(self.panels).max(1)]);
        both.min_by_key(|parts| load(*parts)).unwrap_or([1, 1])
    }
}

/// The threads of a run, and their working memory.
pub(super) struct Workers<'a> {
    pub(super) crew: &'a mut Crew,
    pub(super) scratch: &'a mut [Scratch],
}

impl Workers<'_> {
    pub(super) fn count(&self) -> usize {
        self.scratch.len().max(1)
    }

    /// Runs `run` on all parts: pixels, panels, working memory.
    pub(super) fn each_part(
        &mut self,
        parts: Parts,
        run: impl Fn(Range<usize>, Range<usize>, &mut Scratch) + Sync,
    ) {
        let [by_pixels, by_panels] = parts.counts(self.count());
        let tasks: Vec<_> = cut(0..parts.pixels, by_pixels)
            .flat_map(|pixels| cut(0..parts.panels, by_panels).map(move |panels| (pixels.clone(), panels)))
            .filter(|(pixels, panels)| !pixels.is_empty() && !panels.is_empty())
            .collect();
        self.each(tasks, |(pixels, panels), scratch| run(pixels, panels, scratch));
    }

    /// Runs tasks on all threads, each with its own working memory.
    pub(super) fn each<T: Send>(&mut self, tasks: Vec<T>, run: impl Fn(T, &mut Scratch) + Sync) {
        let one = tasks.len() <= 1;
        let left = Mutex::new((tasks.into_iter(), self.scratch.iter_mut()));
        let lock = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            let mut spare = Scratch::default();
            let own = lock().1.next();
            let scratch = own.unwrap_or(&mut spare);
            loop {
                let task = lock().0.next();
                let Some(task) = task else { return };
                run(task, scratch);
            }
        };
        match one {
            true => work(),
            false => self.crew.together(&work),
        }
    }
}

/// Cuts a range into `parts` parts, as even as possible.
pub(super) fn cut(range: Range<usize>, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let (len, rest) = (range.len() / parts.max(1), range.len() % parts.max(1));
    let at = move |i: usize| range.start + len * i + i.min(rest);
    (0..parts).map(move |i| at(i)..at(i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_in_a_row() {
        for (range, parts) in [(0..usize::MAX / 2, 5000), (7..20, 4), (3..5, 7), (4..4, 2), (0..9, 0)] {
            let found: Vec<_> = cut(range.clone(), parts).collect();
            assert_eq!(found.len(), parts);
            assert!(found.windows(2).all(|w| w[0].end == w[1].start && w[0].len() - w[1].len() <= 1));
            if let [first, .., last] = &found[..] {
                assert_eq!((first.start, last.end), (range.start, range.end));
            }
        }
    }

    #[test]
    fn threads_have_equal_loads() {
        let parts = |tiles: usize, panels, by_panels| Parts { pixels: 6 * tiles, tile: 6, panels, by_panels };
        assert_eq!(parts(9, 8, true).counts(2), [1, 8]);
        assert_eq!(parts(9, 8, true).counts(16), [2, 8]);
        assert_eq!(parts(33, 4, false).counts(8), [2, 4]);
        assert_eq!(parts(500, 1, false).counts(4), [16, 1]);
        assert_eq!(parts(9, 8, true).counts(1), [1, 1]);
    }
}
