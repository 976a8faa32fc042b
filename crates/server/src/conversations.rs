//! `konverse conversations`: a customer's conversations for a person.

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use konverse_domain::{Actor, Authorized, ConversationQuery, Domain, DomainError, ListRequest, Org, permissions};
use konverse_model::resource::Conversation;
use konverse_model::{CustomerId, Document};

/// Rows read at once, at most.
const PAGE: u32 = 100;

/// The customer a person means: an id, an e-mail address, else an external id.
async fn customer(domain: &Domain, actor: &Actor, text: &str) -> anyhow::Result<CustomerId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let auth: Authorized<permissions::ReadCustomers> = actor.clone().authorize()?;
    let found = if text.contains('@') {
        domain.customer_by_email(&auth, text).await?
    } else {
        domain.customer_by_external_id(&auth, text).await?
    };
    Ok(CustomerId(Document::<konverse_model::resource::CustomerAttributes>::from_text(&found)?.id))
}

/// Shows every conversation of a customer, newest first: as a table, or one JSON object a line.
pub(crate) async fn show(
    domain: &Domain,
    org: &Org,
    who: &str,
    json: bool,
    print: &dyn Fn(&str),
) -> anyhow::Result<()> {
    let actor = Actor::system(org.id);
    let customer = customer(domain, &actor, who).await.with_context(|| format!("looking for customer {who}"))?;
    let auth: Authorized<permissions::ReadConversations> = actor.authorize()?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["ID", "CREATED", "STATUS", "MESSAGES", "NOTES", "LAST MESSAGE", "NAME"]);
    let (mut cursor, mut page_size) = (None, PAGE);
    loop {
        let request = ListRequest { page: 1, page_size, cursor: cursor.clone(), buffer: b"[".to_vec() };
        let mut page =
            match domain.list_customer_conversations(&auth, customer, ConversationQuery::default(), request).await {
                // So many of these are more than is held at once.
                Err(DomainError::Parameter { name: "pageSize", .. }) if page_size > 1 => {
                    page_size /= 2;
                    continue;
                }
                page => page?,
            };
        page.buffer.push(b']');
        if json {
            let rows: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&page.buffer)?;
            rows.iter().for_each(|row| print(row.get()));
        } else {
            let rows: Vec<Conversation> = serde_json::from_slice(&page.buffer)?;
            for row in rows {
                let it = row.attributes;
                table.add_row([
                    row.id.to_string(),
                    it.created_at.to_string(),
                    it.status.name().to_owned(),
                    it.message_count.to_string(),
                    it.note_count.to_string(),
                    it.last_message_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
                    it.name,
                ]);
            }
        }
        match page.next {
            Some(next) => cursor = Some(next.to_string()),
            None => break,
        }
    }
    if !json {
        print(&table.trim_fmt());
    }
    Ok(())
}
