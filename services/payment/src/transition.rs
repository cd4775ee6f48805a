//! What a notice of the provider does to an order. Pure: the whole table of states is here.

use crate::inbox::event::{Notice, Payment};
use crate::store::entity::orders::{Method, Model as Order, OrderStatus};

/// What must be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The order already says so, or something later.
    Nothing,
    /// The checkout is complete, the money is on its way.
    Process,
    /// The quote is paid: the job may start.
    Pay(Payment),
    /// It will not be paid: the document is released.
    Expire(&'static str),
    /// Money came after the order had expired: it goes back.
    RefundLate(Payment),
    /// A second payment of a paid order: it goes back, and the order is not touched.
    RefundExtra(Payment),
    /// The payment contradicts the quote: an operator must look at the order.
    QuarantineOrder(Payment, &'static str),
    /// Only the event is set aside; the order stands.
    QuarantineEvent(&'static str),
}

/// Decides. An order never moves backwards: every arm goes from an earlier state to a later one or leaves it. `known`:
/// the payment that the notice is about is in the books already.
pub(crate) fn decide(order: &Order, notice: &Notice, known: bool) -> Decision {
    match notice {
        Notice::Paid(payment) | Notice::Refunded(payment, _) => decide_paid(order, payment, known),
        Notice::Processing { object_id } => match order.status {
            OrderStatus::Open if is_its_own(order, object_id) => Decision::Process,
            _ => Decision::Nothing,
        },
        Notice::Expired { object_id } => match order.status {
            OrderStatus::Open if is_its_own(order, object_id) => Decision::Expire("CHECKOUT_EXPIRED"),
            OrderStatus::Processing if order.intent_id.as_deref() == Some(object_id) => {
                Decision::Expire("CHECKOUT_EXPIRED")
            }
            _ => Decision::Nothing,
        },
        Notice::Failed { object_id } => match (order.status, order.method) {
            (OrderStatus::Open | OrderStatus::Processing, Method::Checkout)
                if is_its_session(order, object_id) =>
            {
                Decision::Expire("PAYMENT_FAILED")
            }
            // While the intent is open the customer may try another card.
            (OrderStatus::Processing, Method::Intent) if is_its_own(order, object_id) => {
                Decision::Expire("PAYMENT_FAILED")
            }
            _ => Decision::Nothing,
        },
        Notice::Incomplete => Decision::QuarantineEvent("PAYMENT_INCOMPLETE"),
    }
}

fn decide_paid(order: &Order, payment: &Payment, known: bool) -> Decision {
    let contradiction = contradiction(order, payment);
    match (order.status, contradiction) {
        // Of a payment that is no longer the whole news, only what contradicts the quote is worth a look.
        (OrderStatus::Quarantined, reason) => {
            Decision::QuarantineEvent(reason.unwrap_or("ORDER_QUARANTINED"))
        }
        (_, Some(reason)) if known => Decision::QuarantineEvent(reason),
        (_, None) if known => Decision::Nothing,
        (OrderStatus::Open | OrderStatus::Processing, Some(reason)) => {
            Decision::QuarantineOrder(payment.clone(), reason)
        }
        (OrderStatus::Open | OrderStatus::Processing, None) => Decision::Pay(payment.clone()),
        // Nothing to send back.
        _ if payment.amount_minor == 0 => Decision::QuarantineEvent("AMOUNT_MISMATCH"),
        (OrderStatus::Expired, _) => Decision::RefundLate(payment.clone()),
        _ => Decision::RefundExtra(payment.clone()),
    }
}

fn contradiction(order: &Order, payment: &Payment) -> Option<&'static str> {
    if payment.currency != order.currency {
        Some("CURRENCY_MISMATCH")
    } else if payment.amount_minor != order.amount_minor {
        Some("AMOUNT_MISMATCH")
    } else {
        None
    }
}

/// Whether a session or an intent is the one that pays the order, as far as is known: after a crash its id may not be
/// stored yet.
fn is_its_own(order: &Order, object_id: &str) -> bool {
    match order.method {
        Method::Checkout => is_its_session(order, object_id),
        Method::Intent => order.intent_id.as_deref().is_none_or(|own| own == object_id),
    }
}

/// The intent of a session has ups and downs of its own, which the session's events sum up.
fn is_its_session(order: &Order, object_id: &str) -> bool {
    object_id.starts_with("cs_") && order.checkout_session_id.as_deref().is_none_or(|own| own == object_id)
}

#[cfg(test)]
mod tests {
    use sea_orm::Iterable;

    use super::*;

    fn order(status: OrderStatus) -> Order {
        let paid = !matches!(status, OrderStatus::Open | OrderStatus::Processing | OrderStatus::Expired);
        Order {
            status,
            checkout_session_id: Some("cs_1".into()),
            provider_payment_id: paid.then(|| "pi_1".into()),
            ..crate::store::entity::orders::tests::order(&quire_clock::World::system())
        }
    }

    fn payment(id: &str, amount_minor: i64, currency: &str) -> Payment {
        Payment { id: id.into(), amount_minor, currency: currency.into() }
    }

    fn notices() -> Vec<Notice> {
        let mut notices = vec![Notice::Incomplete];
        for session_id in ["cs_1", "cs_2"] {
            notices.push(Notice::Processing { object_id: session_id.into() });
            notices.push(Notice::Expired { object_id: session_id.into() });
            notices.push(Notice::Failed { object_id: session_id.into() });
        }
        for id in ["pi_1", "pi_2"] {
            for (amount, currency) in [(600, "EUR"), (599, "EUR"), (601, "EUR"), (0, "EUR"), (600, "USD")] {
                notices.push(Notice::Paid(payment(id, amount, currency)));
            }
        }
        notices
    }

    fn is_known(known: &[String], notice: &Notice) -> bool {
        matches!(notice, Notice::Paid(payment) if known.contains(&payment.id))
    }

    /// How far a status is: a decision must never lead to a lower one.
    fn rank(status: OrderStatus) -> u8 {
        match status {
            OrderStatus::Open => 0,
            OrderStatus::Processing => 1,
            OrderStatus::Expired => 2,
            OrderStatus::Quarantined | OrderStatus::Paid => 3,
            OrderStatus::Delivered => 4,
            OrderStatus::RefundPending => 5,
            OrderStatus::Refunded => 6,
        }
    }

    fn target(from: OrderStatus, decision: &Decision) -> OrderStatus {
        match decision {
            Decision::Process => OrderStatus::Processing,
            Decision::Pay(_) => OrderStatus::Paid,
            Decision::Expire(_) => OrderStatus::Expired,
            Decision::RefundLate(_) => OrderStatus::RefundPending,
            Decision::QuarantineOrder(..) => OrderStatus::Quarantined,
            Decision::Nothing | Decision::RefundExtra(_) | Decision::QuarantineEvent(_) => from,
        }
    }

    #[test]
    fn no_sequence_of_four_notices_moves_an_order_backwards_or_pays_it_twice() {
        fn walk(order: &Order, known: &[String], payments: u32, depth: u32) {
            assert!(payments <= 1, "paid twice");
            if depth == 0 {
                return;
            }
            for notice in notices() {
                let decision = decide(order, &notice, is_known(known, &notice));
                let mut next = order.clone();
                let mut known = known.to_vec();
                next.status = target(order.status, &decision);
                assert!(rank(next.status) >= rank(order.status), "{:?} {notice:?}", order.status);
                let paid = u32::from(matches!(decision, Decision::Pay(_)));
                if let Decision::Pay(payment)
                | Decision::RefundLate(payment)
                | Decision::RefundExtra(payment)
                | Decision::QuarantineOrder(payment, _) = decision
                {
                    known.push(payment.id);
                }
                walk(&next, &known, payments + paid, depth - 1);
            }
        }
        walk(&order(OrderStatus::Open), &[], 0, 4);
    }

    #[test]
    fn only_the_exact_amount_and_currency_pay() {
        for status in OrderStatus::iter() {
            for notice in notices() {
                if let Decision::Pay(payment) = decide(&order(status), &notice, false) {
                    assert_eq!((payment.amount_minor, payment.currency.as_str()), (600, "EUR"));
                    assert!(matches!(status, OrderStatus::Open | OrderStatus::Processing));
                }
            }
        }
        let low = Notice::Paid(payment("pi_1", 599, "EUR"));
        let decision = decide(&order(OrderStatus::Open), &low, false);
        assert!(matches!(decision, Decision::QuarantineOrder(_, "AMOUNT_MISMATCH")));
        let dollars = Notice::Paid(payment("pi_1", 600, "USD"));
        let decision = decide(&order(OrderStatus::Processing), &dollars, false);
        assert!(matches!(decision, Decision::QuarantineOrder(_, "CURRENCY_MISMATCH")));
    }

    #[test]
    fn a_second_payment_goes_back_and_the_same_one_changes_nothing() {
        for status in [OrderStatus::Paid, OrderStatus::Delivered, OrderStatus::Refunded] {
            let same = Notice::Paid(payment("pi_1", 600, "EUR"));
            assert_eq!(decide(&order(status), &same, true), Decision::Nothing);
            let other = payment("pi_2", 600, "EUR");
            let decision = decide(&order(status), &Notice::Paid(other.clone()), false);
            assert_eq!(decision, Decision::RefundExtra(other));
        }
    }

    #[test]
    fn only_its_own_session_expires_an_order() {
        let expired = |id: &str| Notice::Expired { object_id: id.into() };
        let open = order(OrderStatus::Open);
        assert_eq!(decide(&open, &expired("cs_2"), false), Decision::Nothing);
        assert!(matches!(decide(&open, &expired("cs_1"), false), Decision::Expire(_)));
        assert_eq!(decide(&order(OrderStatus::Paid), &expired("cs_1"), false), Decision::Nothing);
        assert_eq!(decide(&order(OrderStatus::Processing), &expired("cs_1"), false), Decision::Nothing);
    }

    #[test]
    fn only_its_own_session_holds_an_order() {
        let open = order(OrderStatus::Open);
        let processing = |id: &str| Notice::Processing { object_id: id.into() };
        assert_eq!(decide(&open, &processing("cs_1"), false), Decision::Process);
        for other in ["cs_2", "pi_1"] {
            assert_eq!(decide(&open, &processing(other), false), Decision::Nothing);
        }
    }

    #[test]
    fn a_payment_of_nothing_has_nothing_to_send_back() {
        for status in OrderStatus::iter() {
            let decision = decide(&order(status), &Notice::Paid(payment("pi_2", 0, "EUR")), false);
            assert!(!matches!(decision, Decision::RefundLate(_) | Decision::RefundExtra(_)), "{status:?}");
        }
    }
}
