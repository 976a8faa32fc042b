//! Generated history: one customer with very many conversations, and many customers with a few each.
//!
//! Seeded, so that every run imports the same. The conversations have no messages, which would take most of the import's
//! time, but as many bytes as if they had: a page of larger texts costs more and makes what finding it costs look small.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use konverse_harness::Random;
use serde_json::json;

/// Conversations of each of the other customers.
const EACH: usize = 4;

/// Words that bring a conversation to the 3.8 kB which real ones have with what their messages leave in them.
const HISTORY: usize = 270;

/// The first conversation's moment, and the time in which all of them begin.
const FIRST_MS: i64 = 1_672_531_200_000;
const SPAN_MS: i64 = 3 * 365 * 24 * 3600 * 1000;

const WORDS: [&str; 16] = [
    "parcel", "refund", "invoice", "delivery", "address", "order", "return", "colour", "size", "voucher", "payment",
    "account", "password", "courier", "damaged", "thanks",
];

/// How much history there is.
#[derive(Clone, Copy)]
pub(crate) struct History {
    /// Conversations of the one customer.
    pub(crate) of_one: usize,
    /// Conversations of all others.
    pub(crate) of_others: usize,
}

impl History {
    /// The one customer.
    pub(crate) fn customer(self) -> String {
        id(1, 0)
    }

    /// The others.
    pub(crate) fn others(self) -> Vec<String> {
        (1..=self.of_others.div_ceil(EACH)).map(|number| id(1, number)).collect()
    }

    /// A conversation of the one customer, the oldest first.
    pub(crate) fn conversation(self, number: usize) -> String {
        id(2, number)
    }

    /// Writes the files to import.
    pub(crate) fn write(self, folder: &Path) -> Result<()> {
        let mut customers = BufWriter::new(File::create(folder.join("customers.jsonl"))?);
        for number in 0..=self.of_others.div_ceil(EACH) {
            let customer = json!({"id": id(1, number), "name": format!("Customer {number}"), "createdAt": moment(0)?});
            writeln!(customers, "{customer}")?;
        }
        customers.flush()?;

        let mut conversations = BufWriter::new(File::create(folder.join("conversations.jsonl"))?);
        let mut random = Random::seeded(0);
        let total = self.of_one + self.of_others;
        let (mut of_one, mut of_others) = (0, 0);
        for step in 0..total {
            // Spread evenly over the time; a share of an instant is by chance.
            let at = SPAN_MS * step as i64 / total as i64 + random.below(1000) as i64;
            let (owner, own) = if of_one * self.of_others <= of_others * self.of_one && of_one < self.of_one {
                of_one += 1;
                (id(1, 0), id(2, of_one - 1))
            } else {
                of_others += 1;
                (id(1, 1 + (of_others - 1) / EACH), id(3, of_others - 1))
            };
            let conversation = json!({
                "id": own,
                "customer": owner,
                "name": text(&mut random, 6),
                "direction": "in",
                "status": "done",
                "priority": 3,
                "createdAt": moment(at)?,
                "custom": {"subjectStr": text(&mut random, 12), "orderNum": step, "historyTxt": text(&mut random, HISTORY)},
            });
            writeln!(conversations, "{conversation}")?;
        }
        conversations.flush()?;
        Ok(())
    }
}

fn id(kind: u32, number: usize) -> String {
    format!("63b0cd00{kind:04x}{number:012x}")
}

fn moment(after_first_ms: i64) -> Result<String> {
    Ok(jiff::Timestamp::from_millisecond(FIRST_MS + after_first_ms)?.to_string())
}

/// So many words by chance.
pub(crate) fn text(random: &mut Random, words: usize) -> String {
    (0..words).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_history_has_the_size_that_was_asked_for_and_repeats_itself() {
        let history = History { of_one: 300, of_others: 90 };
        let [first, second] = [(); 2].map(|()| {
            let folder = tempfile::tempdir().expect("a folder");
            history.write(folder.path()).expect("writes");
            ["customers", "conversations"]
                .map(|name| fs::read_to_string(folder.path().join(name).with_extension("jsonl")).expect("a file"))
        });
        assert_eq!(first, second);

        let lines =
            |text: &str| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
        let text = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
        let customers: Vec<_> = lines(&first[0]).iter().map(|row| text(row, "id")).collect();
        assert_eq!(customers[0], history.customer());
        assert_eq!(customers[1..], history.others());

        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut ids = Vec::new();
        for row in lines(&first[1]) {
            *counts.entry(text(&row, "customer")).or_default() += 1;
            ids.push(text(&row, "id"));
        }
        assert_eq!(counts[&history.customer()], 300);
        assert_eq!(counts.values().sum::<usize>(), 390);
        assert_eq!(counts.len(), customers.len());
        assert!(ids.contains(&history.conversation(299)));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 390);
    }
}
