//! The names a customer is shown under (contract `resources.md` §4).

use konverse_model::resource::Customer;

/// The names a customer is shown under.
pub(crate) fn name_customer(customer: &mut Customer) {
    const COLORS: [&str; 7] = ["orange", "silver", "red", "teal", "black", "purple", "yellow"];
    const ICONS: [&str; 6] = ["balloon", "binoculars", "anchor", "sun", "cake", "flower"];
    let bytes = customer.id.bytes();
    let seed = bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (color, icon) = (COLORS[seed % COLORS.len()], ICONS[(seed / COLORS.len()) % ICONS.len()]);
    let attributes = &mut customer.attributes;
    attributes.display_color = color.to_owned();
    attributes.display_icon = icon.to_owned();
    let name = attributes.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    match name.map(|name| name.split_once(char::is_whitespace).unwrap_or((name, ""))) {
        Some((first, last)) => {
            attributes.first_name = Some(first.to_owned());
            attributes.last_name = Some(last.trim()).filter(|last| !last.is_empty()).map(str::to_owned);
        }
        None => (attributes.first_name, attributes.last_name) = (None, None),
    }
    let title = |word: &str| word[..1].to_uppercase() + &word[1..];
    attributes.display_name = name
        .map(str::to_owned)
        .or_else(|| attributes.emails.first().map(|email| email.email.clone()))
        .or_else(|| attributes.phones.first().map(|phone| phone.phone.clone()))
        .or_else(|| attributes.socials.first().map(|social| social.username.clone()))
        .unwrap_or_else(|| format!("{} {}", title(color), title(icon)));
}
