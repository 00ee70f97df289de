//! The queue of due events, ordered by `(due, sequence)`: equal times are first in, first out.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::base::SimTime;

use super::event::Event;

/// Events that are due at some instant. The heap orders small entries; the events themselves stay
/// where they were put.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Entry>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
    now: SimTime,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: SimTime,
    sequence: u64,
    slot: usize,
}

impl Queue {
    /// Adds an event due at `due`, or now if that has passed.
    pub fn at(&mut self, due: SimTime, event: impl Into<Event>) {
        self.sequence += 1;
        let due = due.max(self.now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event.into());
        self.heap.push(Entry { due, sequence: self.sequence, slot });
    }

    /// Adds an event due `delay` from now.
    pub fn after(&mut self, delay: Duration, event: impl Into<Event>) {
        self.at(self.now + delay, event);
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<SimTime> {
        self.heap.peek().map(|entry| entry.due)
    }

    /// Takes the next event if it is due at `until` or before, and moves time to it.
    pub fn pop_until(&mut self, until: SimTime) -> Option<(SimTime, Event)> {
        if self.next_due()? > until {
            return None;
        }
        let entry = self.heap.pop()?;
        let event = self.events[entry.slot].take()?;
        self.free.push(entry.slot);
        self.now = self.now.max(entry.due);
        Some((entry.due, event))
    }

    /// Moves time forward to `now`.
    pub fn advance(&mut self, now: SimTime) {
        self.now = self.now.max(now);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: `BinaryHeap` pops the greatest.
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}
