//! Things done on the way: each is told at once, and its effect once the views have it.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use serde_json::Value;

use super::world::Note;

/// Most notes that are kept.
const KEPT: usize = 8;

/// The note whose effect nobody has seen yet. There is one at a time: the next thing is done once it was seen, so
/// that no effect is that of a later one.
pub type Pending = Arc<Mutex<Option<Note>>>;

/// Notes of things done, oldest first, and of each whether its effect was seen.
#[derive(Debug, Default)]
pub struct Notes {
    pending: Pending,
    told: Vec<(Note, bool)>,
}

impl Notes {
    /// Notes that come by way of `pending`.
    pub fn new(pending: Pending) -> Notes {
        Notes { pending, told: Vec::new() }
    }

    /// Looks for the effect that was not seen yet, in the answer of `ask` to the note's query. One that was seen
    /// stays told, whatever comes later.
    ///
    /// # Errors
    /// When the query fails.
    pub fn look(&mut self, ask: impl Fn(&str) -> Result<Vec<Value>>) -> Result<()> {
        let Ok(mut pending) = self.pending.lock() else { return Ok(()) };
        let Some(note) = pending.as_ref() else { return Ok(()) };
        let answer = ask(&note.query)?;
        let seen = answer.iter().any(|row| row["n"].as_i64().is_some_and(|n| note.wanted.contains(&n)));
        self.told.pop_if(|(_, seen)| !*seen);
        self.told.push((note.clone(), seen));
        if seen {
            *pending = None;
        }
        self.told.drain(..self.told.len().saturating_sub(KEPT));
        Ok(())
    }

    /// Lines of the last notes, two each.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (note, seen) in &self.told[self.told.len().saturating_sub(most)..] {
            let effect = if *seen { note.effect.as_str() } else { "on its way to the views" };
            lines.push(note.text.clone());
            lines.push(format!("  {effect}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_effect_is_told_once_the_views_have_it() -> Result<()> {
        let note = Note {
            text: "erased u7".to_owned(),
            query: "q".to_owned(),
            wanted: 0..=0,
            effect: "they are gone".to_owned(),
        };
        let pending = Pending::default();
        let mut notes = Notes::new(pending.clone());
        notes.look(|_| anyhow::bail!("asked"))?;
        *pending.lock().unwrap() = Some(note);
        notes.look(|_| Ok(vec![json!({"n": 2})]))?;
        assert_eq!(notes.lines(3), ["erased u7", "  on its way to the views"]);
        assert!(pending.lock().unwrap().is_some());
        notes.look(|_| Ok(vec![json!({"n": 0})]))?;
        assert_eq!(notes.lines(3), ["erased u7", "  they are gone"]);
        // It is not asked for again, and the next one may come.
        assert!(pending.lock().unwrap().is_none());
        notes.look(|_| anyhow::bail!("asked"))?;
        assert_eq!(notes.lines(3), ["erased u7", "  they are gone"]);
        assert!(notes.lines(0).is_empty());
        Ok(())
    }
}
