//! A bounded store for what clients create.

use std::collections::VecDeque;

/// The newest `capacity` objects, newest first.
#[derive(Debug)]
pub struct Shelf<T> {
    items: VecDeque<T>,
    capacity: usize,
}

/// Something with an id of its own.
pub trait Identified {
    fn id(&self) -> &str;
}

impl<T: Identified> Shelf<T> {
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity }
    }

    /// Puts `item` in front; the oldest one falls off.
    pub fn put(&mut self, item: T) {
        self.items.truncate(self.capacity.saturating_sub(1));
        self.items.push_front(item);
    }

    pub fn find(&self, id: &str) -> Option<&T> {
        self.items.iter().find(|item| item.id() == id)
    }

    pub fn remove(&mut self, id: &str) -> Option<T> {
        let at = self.items.iter().position(|item| item.id() == id)?;
        self.items.remove(at)
    }

    /// Drops the oldest item, but never the last one.
    pub fn drop_oldest(&mut self) -> bool {
        self.items.len() > 1 && self.items.pop_back().is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Identified for &str {
        fn id(&self) -> &str {
            self
        }
    }

    #[test]
    fn the_oldest_falls_off() {
        let mut shelf = Shelf::new(2);
        for item in ["a", "b", "c"] {
            shelf.put(item);
        }
        assert_eq!(shelf.iter().copied().collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(shelf.find("a"), None);
        assert_eq!(shelf.remove("b"), Some("b"));
        assert!(!shelf.drop_oldest());
    }
}
