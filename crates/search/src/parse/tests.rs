use super::*;
use crate::query::Op;
use konverse_model::Instant;
use proptest::prelude::*;
use serde_json::json;

fn read(body: Json) -> Query {
    parse(&body, Surface::Live).unwrap_or_else(|errors| panic!("{body}: {errors:?}"))
}

/// The pointers of what is wrong with a body.
fn wrong(body: Json, surface: Surface) -> Vec<(String, String)> {
    let errors = parse(&body, surface).expect_err(&body.to_string());
    errors.into_iter().map(|error| (error.pointer, error.message)).collect()
}

fn pointers(body: Json) -> Vec<String> {
    wrong(body, Surface::Live).into_iter().map(|(pointer, _)| pointer).collect()
}

/// The bounds of a criterion on one date attribute.
type End = Option<(String, bool)>;

fn bounds(operator: &str, date: &str, zone: &str) -> (End, End) {
    let query =
        read(json!({ "timeZone": zone, "queryContext": "note", "and": [{ "note_created_at": { operator: date } }] }));
    let mut node = &query.filter;
    let op = loop {
        match node {
            Node::All(nodes) => node = &nodes[0],
            Node::Test(test) => break &test.op,
            other => panic!("{other:?}"),
        }
    };
    let told = |bound: &crate::query::Bound| match &bound.value {
        crate::Value::Instant(at) => (at.to_string(), bound.inclusive),
        other => panic!("{other:?}"),
    };
    match op {
        Op::Within { from, to } => (from.as_ref().map(told), to.as_ref().map(told)),
        Op::In(values) => match values.as_slice() {
            [crate::Value::Instant(at)] => (Some((at.to_string(), true)), Some((at.to_string(), true))),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bare_date_is_a_local_day() {
    let at = |text: &str, inclusive| Some((text.to_owned(), inclusive));
    let new_york = "America/New_York";
    for (operator, from, to) in [
        ("gte", at("2026-10-19T04:00:00.000Z", true), None),
        ("lte", None, at("2026-10-20T04:00:00.000Z", false)),
        ("gt", at("2026-10-20T04:00:00.000Z", true), None),
        ("lt", None, at("2026-10-19T04:00:00.000Z", false)),
        ("equals", at("2026-10-19T04:00:00.000Z", true), at("2026-10-20T04:00:00.000Z", false)),
    ] {
        assert_eq!(bounds(operator, "2026-10-19", new_york), (from, to), "{operator}");
    }
    let day = |date: &str, zone: &str| {
        let (from, to) = bounds("equals", date, zone);
        (from.unwrap().0, to.unwrap().0)
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    // A day of 23 hours, one of 25, and one whose midnight was skipped.
    assert_eq!(day("2026-03-08", new_york), pair("2026-03-08T05:00:00.000Z", "2026-03-09T04:00:00.000Z"));
    assert_eq!(day("2026-11-01", new_york), pair("2026-11-01T04:00:00.000Z", "2026-11-02T05:00:00.000Z"));
    assert_eq!(day("2018-11-04", "America/Sao_Paulo"), pair("2018-11-04T03:00:00.000Z", "2018-11-05T02:00:00.000Z"));
    assert_eq!(day("2026-10-19", "GMT"), pair("2026-10-19T00:00:00.000Z", "2026-10-20T00:00:00.000Z"));
    // The ends of time.
    assert_eq!(bounds("lte", "9999-12-31", new_york), (None, at("9999-12-31T23:59:59.999Z", true)));
    assert_eq!(bounds("gt", "9999-12-31", "GMT"), (at("9999-12-31T23:59:59.999Z", false), None));
    assert_eq!(bounds("gte", "0001-01-01", "Asia/Tokyo"), (at("0001-01-01T00:00:00.000Z", true), None));
}

#[test]
fn a_time_is_a_moment_in_any_of_its_spellings_and_no_zone_moves_it() {
    let expected = |at: &str| (Some((at.to_owned(), false)), None);
    for text in [
        "2023-01-01 00:00:00+00:00",
        "2023-01-01T00:00:00.000000Z",
        "2023-01-01T00:00:00Z",
        "2023-01-01T00:00:00.000Z",
        "2023-01-01T02:00:00+02:00",
    ] {
        assert_eq!(bounds("gt", text, "Asia/Tokyo"), expected("2023-01-01T00:00:00.000Z"), "{text}");
    }
    assert_eq!(bounds("gt", "2023-01-01T00:00:00.123456Z", "GMT"), expected("2023-01-01T00:00:00.123Z"));
}

#[test]
fn what_is_wrong_is_told_by_pointer() {
    for (body, pointer) in [
        (json!([]), ""),
        (json!({ "limit": 5 }), "/limit"),
        (json!({ "queryContext": "ticket" }), "/queryContext"),
        (json!({ "queryContext": 5 }), "/queryContext"),
        (json!({ "timeZone": "Mars/Base" }), "/timeZone"),
        (json!({ "includeDeleted": "yes" }), "/includeDeleted"),
        (json!({ "fields": ["name"] }), "/fields"),
        (json!({ "aggs": [] }), "/aggs"),
        (json!({ "searchHash": 1 }), "/searchHash"),
        (json!({ "and": "all" }), "/and"),
        (json!({ "and": ["all"] }), "/and/0"),
        (json!({ "and": vec![json!({ "customer_name": { "equals": "a" } }); 21] }), "/and"),
        (json!({ "and": [{ "customer_favourite": { "equals": "red" } }] }), "/and/0/customer_favourite"),
        (json!({ "and": [{ "customer_custom_x": { "equals": "red" } }] }), "/and/0/customer_custom_x"),
        (json!({ "and": { "customer_name": "Jane" } }), "/and/customer_name"),
        (json!({ "and": { "customer_name": {} } }), "/and/customer_name"),
        (json!({ "and": [{ "customer_name": { "like": "J%" } }] }), "/and/0/customer_name/like"),
        (json!({ "and": [{ "customer_name": { "gte": "J" } }] }), "/and/0/customer_name/gte"),
        (json!({ "and": [{ "customer_externalId": { "contains": "J" } }] }), "/and/0/customer_externalId/contains"),
        (
            json!({ "or": [{ "not": { "conversation_priority": { "gte": "high" } } }] }),
            "/or/0/not/conversation_priority/gte",
        ),
        (json!({ "and": [{ "conversation_status": { "equals": "closed" } }] }), "/and/0/conversation_status/equals"),
        (json!({ "and": [{ "conversation_status": { "in": "open" } }] }), "/and/0/conversation_status/in"),
        (json!({ "and": [{ "customer_imported": { "equals": 1 } }] }), "/and/0/customer_imported/equals"),
        (json!({ "and": [{ "customer_created_at": { "gt": "yesterday" } }] }), "/and/0/customer_created_at/gt"),
        (json!({ "and": [{ "customer_created_at": { "gt": "2026-02-30" } }] }), "/and/0/customer_created_at/gt"),
        (json!({ "and": [{ "customer_name": { "contains": "" } }] }), "/and/0/customer_name/contains"),
        (json!({ "and": [{ "a/b~c": { "equals": 1 } }] }), "/and/0/a~1b~0c"),
        (json!({ "sort": "customer_name" }), "/sort"),
        (json!({ "sort": ["customer_name"] }), "/sort/0"),
        (json!({ "sort": { "customer_name": "up" } }), "/sort/customer_name"),
        (json!({ "sort": [{ "customer_colour": "asc" }] }), "/sort/0/customer_colour"),
        (json!({ "sort": [{ "customer_email": "asc" }] }), "/sort/0/customer_email"),
        (json!({ "sort": [{ "conversation_status": "asc" }] }), "/sort/0/conversation_status"),
        (json!({ "queryContext": "message", "sort": [{ "message_body": "asc" }] }), "/sort/0/message_body"),
        (json!({ "sort": vec![json!({ "customer_name": "asc" }); 6] }), "/sort"),
    ] {
        assert_eq!(pointers(body.clone()), [pointer], "{body}");
    }
    let several = json!({ "limit": 5, "and": [{ "x_y": {} }, { "customer_name": { "like": "", "equals": "" } }] });
    assert_eq!(pointers(several), ["/limit", "/and/0/x_y", "/and/1/customer_name/like", "/and/1/customer_name/equals"]);
}

#[test]
fn groups_and_criteria_have_bounds() {
    let nested = |depth: usize| {
        (1..depth)
            .fold(json!({ "and": [{ "customer_name": { "equals": "a" } }] }), |inner, _| json!({ "and": [inner] }))
    };
    read(nested(MOST_DEPTH));
    assert_eq!(pointers(nested(MOST_DEPTH + 1)).len(), 1);
    let twenty = vec![json!({ "customer_name": { "equals": "a" } }); 20];
    let many = |groups: usize| json!({ "and": vec![json!({ "or": twenty }); groups] });
    read(many(MOST_TESTS / 20));
    assert_eq!(pointers(many(MOST_TESTS / 20 + 1)), [""]);
}

#[test]
fn the_archive_knows_less() {
    let body = json!({ "and": [{ "customer_any_text_new": { "contains": "late parcel" } }], "sort": { "customer_updated_at": "asc" } });
    assert!(parse(&body, Surface::Archive).is_ok());
    for body in
        [json!({ "and": [{ "customer_name": { "equals": "a" } }] }), json!({ "fields": [] }), json!({ "aggs": {} })]
    {
        assert!(parse(&body, Surface::Live).is_ok(), "{body}");
        assert_eq!(wrong(body, Surface::Archive).len(), 1);
    }
}

#[test]
fn names_may_lack_their_object_and_nothing_may_be_asked() {
    let names = |body: Json| read(body).attributes().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let body = json!({
        "queryContext": "conversation",
        "and": [{ "createdAt": { "gte": "2026-01-01" } }, { "deleted": { "equals": false } }, { "lastDoneAt": { "set": "" } },
            { "messageCount": { "gt": 3 } }, { "custom_tierStr": { "equals": "x" } }],
        "or": [], "not": {}, "sort": [],
    });
    let expected = ["created_at", "deleted", "last_done_created_at", "message_count", "custom_tierStr", "updated_at"];
    assert_eq!(names(body), expected.map(|name| format!("conversation_{name}")));
    let query = read(json!({}));
    assert_eq!((query.object, query.filter, query.include_deleted), (Object::Customer, Node::All(Vec::new()), false));
    assert!(query.sort[0].descending && query.sort[0].attribute.name == "customer_updated_at");
    let klass = json!({ "queryContext": "kobject_ecomm-order", "and": [
        { "kobject_custom_ecomm-order_orderStatusStr": { "equals": "shipped" } }, { "kobject_ecomm-order_created_at": { "gt": "2026-01-01" } }] });
    assert_eq!(read(klass).object, Object::Kobject);
}

/// Bodies that are nearly right: most names and operators are known, most values fit.
fn bodies() -> impl Strategy<Value = Json> {
    let name = prop_oneof![
        Just("customer_name"),
        Just("conversation_status"),
        Just("createdAt"),
        Just("message_body"),
        Just("customer_tags"),
        Just("and"),
        Just("or"),
        Just("not"),
        Just("customer_custom_xNum"),
        Just("any_text"),
        Just("sort"),
        Just("queryContext"),
        Just("timeZone"),
        Just("é/~"),
    ];
    let operator = prop_oneof![
        Just("equals"),
        Just("in"),
        Just("gte"),
        Just("lt"),
        Just("contains"),
        Just("not_set"),
        Just("prefix"),
        Just("not_in"),
        Just("like"),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        Just(json!("open")),
        Just(json!("2026-02-29")),
        Just(json!("9999-12-31")),
        Just(json!("asc")),
        Just(json!("conversation")),
        Just(json!("Pacific/Apia")),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::vec((prop_oneof![name.clone(), operator.clone()], inner), 0..4)
                .prop_map(|entries| entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    /// Whatever comes, it is understood or told by a pointer that leads somewhere in it.
    #[test]
    fn no_body_makes_it_panic_and_every_error_points_at_something(body in bodies()) {
        for surface in [Surface::Live, Surface::Archive] {
            if let Err(errors) = parse(&body, surface) {
                prop_assert!(!errors.is_empty() && errors.len() <= MOST_ERRORS);
                for error in errors {
                    prop_assert!(body.pointer(&error.pointer).is_some(), "{} in {body}", error.pointer);
                }
            }
        }
    }

    #[test]
    fn a_moment_is_found_at_its_own_local_day(millis in -62_000_000_000_000_i64..253_000_000_000_000, zone in 0_usize..4) {
        let zone = ["America/New_York", "Europe/Amsterdam", "Pacific/Apia", "GMT"][zone];
        let local = jiff::Timestamp::from_millisecond(millis).unwrap().in_tz(zone).unwrap().date();
        if (1..=9998).contains(&local.year()) {
            let (from, to) = bounds("equals", &local.to_string(), zone);
            let at = Instant::from_millis(millis).to_string();
            prop_assert!(from.unwrap().0 <= at && at < to.unwrap().0, "{at} in {local} of {zone}");
        }
    }
}
