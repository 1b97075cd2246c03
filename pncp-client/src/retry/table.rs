/// How a call was made. Only those that change nothing are ever repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the head only.
    Head,
    /// Anything that may change the server.
    Other,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// An answer with this status.
    Status(u16),
    /// No connection, or it broke.
    NoAnswer,
    /// A timeout: connect, first byte, idle, total.
    Timeout,
}

/// What the body of the answer is, whatever it is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// The shape that was asked for (page, array, object, number), whole.
    Wanted,
    /// Nothing, or a page without records.
    Empty,
    /// The API's own "Contratação não cadastrada."
    NotRegistered,
    /// The API's own "Código da modalidade de contratação inválido."
    UnknownModality,
    /// JSON of another shape: one of the error shapes, or the page of another number.
    OtherJson,
    /// Text that begins like JSON and breaks off.
    Cut,
    /// A browser's page: the limiter or the firewall.
    Html,
    /// Other text, also where it is labelled JSON.
    Text,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Take the body.
    Accept,
    /// There is nothing, and that is an answer.
    Empty,
    /// The purchase is said to be gone: ask again until it has been said often enough.
    ConfirmGone,
    /// The modality does not exist.
    NoSuchModality,
    /// A passing fault: ask again after a delay.
    Retry,
    /// The server is overloaded: slow the family down, then as `Retry`.
    RetrySlower,
    /// The limiter speaks: pause the whole family, then ask again.
    Pause,
    /// Asking again would not help.
    Refuse,
}

/// The one table of what each answer means.
///
/// `must_exist`: the API itself announced this page or purchase, so its absence is a fault.
///
/// | status | body | must exist | may be absent |
/// |---|---|---|---|
/// | 200 | wanted | accept | accept |
/// | 200 | empty | retry | empty |
/// | 200 | HTML (the firewall) | retry slower, the fifth in a row pauses | likewise |
/// | 200 | cut, other JSON, text | retry | retry |
/// | 204 | any | retry | empty |
/// | 400 | any | retry | refuse |
/// | 403 | HTML | pause | pause |
/// | 404 | not registered | confirm gone | confirm gone |
/// | 404 | other | retry | retry |
/// | 408, 425 | any | retry slower | retry slower |
/// | 422 | unknown modality | no such modality | no such modality |
/// | 422 | other | retry | retry |
/// | 429 | any | pause | pause |
/// | 500 | any | retry | retry |
/// | 502, 503, 504, other 5xx | any | retry slower | retry slower |
/// | other | any | refuse | refuse |
/// | no answer | | retry | retry |
/// | timeout | | retry slower | retry slower |
///
/// Any answer but a good one that carries `Retry-After` pauses its family for that long. A 429 without
/// it pauses for `default_pause_ms`.
///
/// A method other than GET and HEAD is never repeated: what would be repeated is refused.
///
/// Sources: API.md section 8, quirks 1 (204), 2 (400), 3 (422), 4 (404), 5 (500).
pub fn action(method: Method, answered: Answered, body: BodyKind, must_exist: bool) -> Action {
    let action = match answered {
        Answered::NoAnswer => Action::Retry,
        Answered::Timeout => Action::RetrySlower,
        Answered::Status(status) => by_status(status, body, must_exist),
    };
    match (method, action) {
        (Method::Get | Method::Head, action) => action,
        (Method::Other, Action::Accept | Action::Empty) => action,
        (Method::Other, _) => Action::Refuse,
    }
}

fn by_status(status: u16, body: BodyKind, must_exist: bool) -> Action {
    match (status, body) {
        (200, BodyKind::Wanted) => Action::Accept,
        (200, BodyKind::Empty) | (204, _) if must_exist => Action::Retry,
        (200, BodyKind::Empty) | (204, _) => Action::Empty,
        (200, BodyKind::Html) => Action::RetrySlower,
        (403, BodyKind::Html) | (429, _) => Action::Pause,
        (200, _) => Action::Retry,
        (400, _) if must_exist => Action::Retry,
        (404, BodyKind::NotRegistered) => Action::ConfirmGone,
        (404, _) => Action::Retry,
        (422, BodyKind::UnknownModality) => Action::NoSuchModality,
        (422, _) | (500, _) => Action::Retry,
        (408 | 425 | 501..=599, _) => Action::RetrySlower,
        _ => Action::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [BodyKind; 8] = [
        BodyKind::Wanted,
        BodyKind::Empty,
        BodyKind::NotRegistered,
        BodyKind::UnknownModality,
        BodyKind::OtherJson,
        BodyKind::Cut,
        BodyKind::Html,
        BodyKind::Text,
    ];

    #[track_caller]
    fn expect(status: u16, kinds: &[BodyKind], must_exist: Action, may_be_absent: Action) {
        for &kind in kinds {
            let of = |flag| action(Method::Get, Answered::Status(status), kind, flag);
            assert_eq!(
                (of(true), of(false)),
                (must_exist, may_be_absent),
                "{status} {kind:?}"
            );
        }
    }

    #[test]
    fn every_row() {
        use Action as A;
        use BodyKind as B;
        expect(200, &[B::Wanted], A::Accept, A::Accept);
        expect(200, &[B::Empty], A::Retry, A::Empty);
        expect(200, &[B::Html], A::RetrySlower, A::RetrySlower);
        expect(
            200,
            &[
                B::Cut,
                B::OtherJson,
                B::Text,
                B::NotRegistered,
                B::UnknownModality,
            ],
            A::Retry,
            A::Retry,
        );
        expect(204, &KINDS, A::Retry, A::Empty);
        expect(400, &KINDS, A::Retry, A::Refuse);
        expect(403, &[B::Html], A::Pause, A::Pause);
        expect(
            403,
            &[B::OtherJson, B::Text, B::Empty],
            A::Refuse,
            A::Refuse,
        );
        expect(404, &[B::NotRegistered], A::ConfirmGone, A::ConfirmGone);
        expect(
            404,
            &[B::OtherJson, B::Html, B::Empty, B::Text, B::Cut],
            A::Retry,
            A::Retry,
        );
        expect(
            422,
            &[B::UnknownModality],
            A::NoSuchModality,
            A::NoSuchModality,
        );
        expect(
            422,
            &[B::OtherJson, B::Empty, B::Html, B::Text],
            A::Retry,
            A::Retry,
        );
        expect(429, &KINDS, A::Pause, A::Pause);
        expect(500, &KINDS, A::Retry, A::Retry);
        for status in [408, 425, 501, 502, 503, 504, 520, 599] {
            expect(status, &KINDS, A::RetrySlower, A::RetrySlower);
        }
        for status in [100, 201, 206, 301, 302, 304, 401, 405, 410, 413, 600] {
            expect(status, &KINDS, A::Refuse, A::Refuse);
        }
        for flag in [true, false] {
            let of = |answered| action(Method::Head, answered, B::Empty, flag);
            assert_eq!(of(Answered::NoAnswer), A::Retry);
            assert_eq!(of(Answered::Timeout), A::RetrySlower);
        }
    }

    #[test]
    fn only_reads_are_repeated() {
        for status in 100..600 {
            for kind in KINDS {
                let action = action(Method::Other, Answered::Status(status), kind, true);
                assert!(matches!(
                    action,
                    Action::Accept | Action::Empty | Action::Refuse
                ));
            }
        }
        assert_eq!(
            action(Method::Other, Answered::NoAnswer, BodyKind::Empty, false),
            Action::Refuse
        );
    }
}
