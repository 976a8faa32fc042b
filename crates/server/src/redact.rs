//! What is never repeated of the command line and the environment: a database's URL may hold a password, also when it is
//! misspelt, was given in another option's place, or is the name of a file. In doubt it is hidden.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::database::Database;

const HIDDEN: &str = "…";

/// A word this process was told, and what is hidden of it: as it is, and as it stands between quotes, in JSON as well.
struct Told {
    word: String,
    secrets: [String; 3],
}

static TOLD: LazyLock<Vec<Told>> = LazyLock::new(|| {
    let arguments = std::env::args_os().skip(1);
    let variables = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KONVERSE_"));
    let words = arguments.chain(variables.map(|(_, value)| value));
    words.filter_map(|word| Told::of(&word.to_string_lossy())).collect()
});

impl Told {
    /// None of a word in which there is nothing to hide.
    fn of(word: &str) -> Option<Self> {
        let (word, secret) = with_secret(word)?;
        let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
        let quoted = [format!("{secret:?}"), serde_json::Value::from(secret.as_str()).to_string()].map(inner);
        let [debug, json] = quoted;
        Some(Self { word, secrets: [secret, debug, json] })
    }
}

/// A text without the secrets this process was told.
pub(crate) fn redacted(text: &str) -> Cow<'_, str> {
    without(text, &TOLD)
}

/// Whether a word may be one that holds a secret, or a part or the whole of what was made of it.
pub(crate) fn is_secret(word: &str) -> bool {
    TOLD.iter().any(|told| told.word.contains(word) || word.contains(&told.word)) || redacted(word) != word
}

fn without<'a>(text: &'a str, told: &[Told]) -> Cow<'a, str> {
    let mut shown = Cow::Borrowed(text);
    for secret in told.iter().flat_map(|told| &told.secrets) {
        if shown.contains(secret) {
            shown = shown.replace(secret, HIDDEN).into();
        }
    }
    shown
}

/// A word that may hold a password, without the option's name before it, and what of it must not be shown.
fn with_secret(word: &str) -> Option<(String, String)> {
    let word = match word.split_once('=') {
        Some((option, value)) if is_option(option) => value,
        _ => word,
    };
    let after_scheme = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let after_scheme = after_scheme.trim_start_matches(|c: char| c.is_ascii_punctuation() && c != '@');
    let has_password = |text: &str| text.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'));
    let before_host = |text: &str| text.rsplit_once('@').map_or("", |(before, _)| before).to_owned();
    let secret = if word.to_ascii_lowercase().contains("password") {
        word.to_owned()
    } else if has_password(after_scheme) {
        before_host(after_scheme)
    } else if has_password(word) && !word.starts_with("sqlite:") {
        before_host(word)
    } else if is_url(word) && word.parse::<Database>().is_err() {
        // Of a path, a complaint may name a folder alone.
        let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
        if authority.contains(':') { authority } else { word }.to_owned()
    } else {
        return None;
    };
    Some((word.to_owned(), secret))
}

fn is_option(text: &str) -> bool {
    let name = text.strip_prefix("--").unwrap_or_default();
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
}

fn is_url(word: &str) -> bool {
    word.contains("://") || word.to_ascii_lowercase().trim_start_matches(['"', '\'']).starts_with("postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a complaint that repeats a word.
    fn shown(word: &str) -> String {
        let told: Vec<_> = Told::of(word).into_iter().collect();
        without(&format!("no {word} and no {word:?}"), &told).into_owned()
    }

    #[test]
    fn what_may_be_a_password_is_hidden_and_nothing_else() {
        for (word, left) in [
            ("postgres://ada:pw@db/x", "postgres://…@db/x"),
            ("postgres:/ada:pw@db/x", "postgres:/…@db/x"),
            ("Postgres//ada:p@w@db", "Postgres//…@db"),
            ("sqlite:ada:p w@db", "sqlite:…@db"),
            ("ada:pw@db", "…@db"),
            ("--database=ada:pw@db", "--database=…@db"),
            ("postgres://ada:pw", "postgres://…"),
            ("postgres://ada:pw/x", "postgres://…/x"),
            ("postgres://db/x?password=pw", "…"),
            ("mysql://pw", "…"),
        ] {
            assert_eq!(shown(word), format!("no {left} and no {left:?}"));
        }
        for word in ["postgres://ada:\"p\nw@db", "postgres://ada:p'\"w\"@db"] {
            assert_eq!(shown(word), "no postgres://…@db and no \"postgres://…@db\"");
        }
        for word in
            ["postgres://db:5432/x", "sqlite:a@b.db", "jane@example.com", "[::1]:80", "acme", "--log=x=debug,y=info"]
        {
            assert_eq!(shown(word), format!("no {word} and no {word:?}"));
        }
    }
}
