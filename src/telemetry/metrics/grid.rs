//! Children of metrics whose labels have closed sets of values.

use std::sync::OnceLock;

/// Children by index, made when they are first asked for: after that no lock is taken, nothing hashed, nothing allocated.
pub(super) struct Grid<T> {
    cells: Box<[OnceLock<T>]>,
}

impl<T> Grid<T> {
    /// One of `size` children, none of which is made yet.
    pub(super) fn new(size: usize) -> Self {
        Self { cells: (0..size).map(|_| OnceLock::new()).collect() }
    }

    /// The child at `index`, which `make` makes the first time.
    pub(super) fn at(&self, index: usize, make: impl FnOnce() -> T) -> Option<&T> {
        self.cells.get(index).map(|cell| cell.get_or_init(make))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_made_once() {
        let grid = Grid::new(2);
        assert_eq!(grid.at(1, || "first"), Some(&"first"));
        assert_eq!(grid.at(1, || "second"), Some(&"first"));
        assert_eq!(grid.at(2, || "beyond"), None);
    }
}
