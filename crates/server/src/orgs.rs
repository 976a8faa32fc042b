//! `konverse org` and `konverse token`.

use anyhow::Context;
use comfy_table::{Table, presets};
use konverse_domain::{Domain, MintedToken, NewToken, Org};
use konverse_model::TokenId;

/// The org of a name, or an error that says what to do.
pub(crate) async fn org_named(domain: &Domain, name: &str) -> anyhow::Result<Org> {
    domain
        .org_named(name)
        .await?
        .with_context(|| format!("there is no org {name}; create it with: konverse org create {name} --database …"))
}

/// A token from what the command line says.
pub(crate) async fn create_token(domain: &Domain, org: &Org, new: NewToken) -> anyhow::Result<MintedToken> {
    domain.create_token(org, new).await.context("creating the token")
}

/// The org's tokens as a table.
pub(crate) async fn token_table(domain: &Domain, org: &Org) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "NAME", "ENDS WITH", "ROLES", "EXPIRES", "FROM", "LAST USED"]);
    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    for token in domain.tokens(org).await? {
        let it = token.attributes;
        table.add_row([
            token.id.to_string(),
            it.name,
            it.last_token_chars,
            it.roles.join(" "),
            or(it.expires_at.map(|at| at.to_string()), "never"),
            or(it.cidr, "anywhere"),
            or(it.last_accessed_at.map(|at| at.to_string()), "never"),
        ]);
    }
    Ok(table.trim_fmt())
}

/// Revokes a token.
pub(crate) async fn revoke(domain: &Domain, org: &Org, id: TokenId) -> anyhow::Result<()> {
    domain.revoke_token(org, id).await.context("revoking the token")
}

/// Reads a time span such as `90d`, `12h` or `30m`, in milliseconds.
pub(crate) fn span(text: &str) -> Result<i64, String> {
    let form = || "a time span looks like 90d, 12h or 30m".to_owned();
    let split = text.len() - text.chars().last().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        _ => return Err(form()),
    };
    let number: i64 = number.parse().map_err(|_| form())?;
    if (1..=100_000).contains(&number) { Ok(number * millis) } else { Err(form()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_has_a_number_and_a_unit() {
        assert_eq!(span("90d"), Ok(90 * 86_400_000));
        assert_eq!(span("30m"), Ok(1_800_000));
        for text in ["", "d", "0d", "-1d", "90", "90x", "9é"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
