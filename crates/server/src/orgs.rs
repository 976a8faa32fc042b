//! `konverse org`, `konverse token` and `konverse user`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context;
use comfy_table::{Table, presets};
use konverse_domain::{Domain, DomainError, MintedToken, NewToken, Org};
use konverse_model::{TokenId, UserId};

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

/// A password, from standard input: the first line of it. At a terminal it is asked for twice and not shown.
pub(crate) fn read_password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ").context("reading the password")?;
        let again = rpassword::prompt_password("Once more: ").context("reading the password")?;
        anyhow::ensure!(password == again, "the two are not the same");
        return Ok(password);
    }
    let mut line = String::new();
    // A password has 256 characters at most; what is longer is refused, and not read to its end.
    std::io::stdin().lock().take(4096).read_line(&mut line).context("reading the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Gives a person a password.
pub(crate) async fn set_password(domain: &Domain, org: &Org, email: &str, password: &str) -> anyhow::Result<UserId> {
    domain.set_password(org, email, password).await.map_err(|error| match error {
        DomainError::Invalid(errors) => {
            let message = errors.first().map_or("is refused", |error| &error.message);
            anyhow::anyhow!("the password {message}")
        }
        error => anyhow::Error::from(error).context("setting the password"),
    })
}

/// Reads an origin as browsers send it: scheme, host and, where it is not the scheme's own, port.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let form = || "an origin looks like https://desk.example.com or http://localhost:3000".to_owned();
    let uri: axum::http::Uri = text.parse().map_err(|_| form())?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(form)?;
    let authority = uri.authority().ok_or_else(form)?;
    if uri.path_and_query().is_some_and(|rest| rest != "/") || text.contains('*') || authority.as_str().contains('@') {
        return Err(form());
    }
    let port = match (scheme, authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    Ok(format!("{scheme}://{}{port}", authority.host().to_lowercase()))
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
    fn an_origin_is_what_browsers_send() {
        for (text, origin_) in [
            ("https://desk.example.com", "https://desk.example.com"),
            ("https://Desk.Example.com:443/", "https://desk.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(origin_), "{text}");
        }
        for text in
            ["*", "null", "", "desk.example.com", "https://*.example.com", "ftp://x", "https://x/y", "https://a@b"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_span_has_a_number_and_a_unit() {
        assert_eq!(span("90d"), Ok(90 * 86_400_000));
        assert_eq!(span("30m"), Ok(1_800_000));
        for text in ["", "d", "0d", "-1d", "90", "90x", "9é"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
