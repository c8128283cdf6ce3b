//! Memory for frames: cells of one size, of which a frame has a chain. All of it is there from the start; the
//! kernel gives pages only for what has been in use.

/// Bytes of a cell: a SYN of IPv6 with as many options as there can be (14 + 40 + 40) is in one.
pub(crate) const CELL: usize = 96;

/// No cell.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Cells {
    bytes: Vec<u8>,
    /// The next cell of the same frame, or the next free one. As long as cells have ever been in use.
    next: Vec<u32>,
    free: u32,
    left: usize,
    count: usize,
}

/// Cells that a frame needs.
pub(crate) fn cells_of(length: usize) -> usize {
    length.div_ceil(CELL).max(1)
}

impl Cells {
    /// As many cells as fit in so many bytes.
    pub fn new(bytes: usize) -> Self {
        let count = bytes / CELL;
        let next = Vec::with_capacity(count);
        Cells { bytes: vec![0; count * CELL], next, free: NONE, left: count, count }
    }

    /// Cells that are free.
    pub fn left(&self) -> usize {
        self.left
    }

    /// All cells there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Copies a frame into cells. Returns the first; `None`, and nothing has changed, if there are too few.
    pub fn store(&mut self, frame: &[u8]) -> Option<u32> {
        if cells_of(frame.len()) > self.left {
            return None;
        }
        let mut first = NONE;
        // From the end, so that each cell's next one is known.
        for _ in 0..cells_of(frame.len()) {
            let cell = self.take();
            self.next[cell as usize] = first;
            first = cell;
        }
        self.overwrite(first, frame);
        Some(first)
    }

    /// Copies a frame into the chain that begins at `first`, which is long enough for it.
    pub fn overwrite(&mut self, first: u32, frame: &[u8]) {
        let mut cell = first;
        for piece in frame.chunks(CELL) {
            let at = cell as usize * CELL;
            self.bytes[at..at + piece.len()].copy_from_slice(piece);
            cell = self.next[cell as usize];
        }
    }

    /// Copies the frame at `first` out, which fills all of `frame`.
    pub fn load(&self, first: u32, frame: &mut [u8]) {
        let mut cell = first;
        for piece in frame.chunks_mut(CELL) {
            let at = cell as usize * CELL;
            piece.copy_from_slice(&self.bytes[at..at + piece.len()]);
            cell = self.next[cell as usize];
        }
    }

    /// Cells of the chain that begins at `first`.
    pub fn chain(&self, first: u32) -> usize {
        let mut length = 0;
        let mut cell = first;
        while cell != NONE {
            length += 1;
            cell = self.next[cell as usize];
        }
        length
    }

    /// Frees the chain that begins at `first`.
    pub fn release(&mut self, first: u32) {
        let mut cell = first;
        while cell != NONE {
            let next = std::mem::replace(&mut self.next[cell as usize], self.free);
            self.free = cell;
            self.left += 1;
            cell = next;
        }
    }

    /// One free cell; the caller knows that there is one.
    fn take(&mut self) -> u32 {
        self.left -= 1;
        if self.free == NONE {
            self.next.push(NONE);
            return (self.next.len() - 1) as u32;
        }
        let cell = self.free;
        self.free = self.next[cell as usize];
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_all_cells_come_back() {
        let mut cells = Cells::new(40 * CELL + 5);
        assert_eq!(cells.count(), 40);
        let frame = |length: usize| (0..length).map(|at| (at * 7 + length) as u8).collect::<Vec<_>>();
        for round in 0..5 {
            let lengths = [1, 96, 97, 1514, 60, 192, 193 + round];
            let firsts = lengths.map(|length| cells.store(&frame(length)).expect("room"));
            assert_eq!(cells.left(), 40 - (1 + 1 + 2 + 16 + 1 + 2 + 3));
            assert_eq!(cells.store(&frame(1514)), None);
            for (first, length) in firsts.into_iter().zip(lengths) {
                let mut out = vec![0; length];
                cells.load(first, &mut out);
                assert_eq!(out, frame(length));
                assert_eq!(cells.chain(first), cells_of(length));
                cells.release(first);
            }
            assert_eq!(cells.left(), 40);
        }
    }
}
