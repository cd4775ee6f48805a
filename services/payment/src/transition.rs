//! What a notice of the provider does to an order. Pure: the whole table of states is here.

use crate::event::{Notice, Payment};
use crate::store::entity::orders::{Model as Order, OrderStatus};

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

/// Decides. An order never moves backwards: every arm goes from an earlier state to a later one or leaves it.
pub(crate) fn decide(order: &Order, notice: &Notice) -> Decision {
    match notice {
        Notice::Paid(payment) => decide_paid(order, payment),
        Notice::Processing => match order.status {
            OrderStatus::Open => Decision::Process,
            _ => Decision::Nothing,
        },
        Notice::Expired { session_id } => match order.status {
            OrderStatus::Open if is_its_session(order, session_id) => Decision::Expire("CHECKOUT_EXPIRED"),
            _ => Decision::Nothing,
        },
        Notice::Failed { session_id } => match order.status {
            OrderStatus::Open | OrderStatus::Processing if is_its_session(order, session_id) => {
                Decision::Expire("PAYMENT_FAILED")
            }
            _ => Decision::Nothing,
        },
        Notice::Incomplete => Decision::QuarantineEvent("PAYMENT_INCOMPLETE"),
    }
}

fn decide_paid(order: &Order, payment: &Payment) -> Decision {
    let contradiction = contradiction(order, payment);
    let known = order.provider_payment_id.as_deref() == Some(payment.id.as_str());
    match order.status {
        OrderStatus::Open | OrderStatus::Processing => match contradiction {
            Some(reason) => Decision::QuarantineOrder(payment.clone(), reason),
            None => Decision::Pay(payment.clone()),
        },
        OrderStatus::Quarantined => Decision::QuarantineEvent(contradiction.unwrap_or("ORDER_QUARANTINED")),
        OrderStatus::Expired => Decision::RefundLate(payment.clone()),
        OrderStatus::Paid | OrderStatus::Delivered | OrderStatus::RefundPending | OrderStatus::Refunded => {
            match contradiction {
                _ if !known => Decision::RefundExtra(payment.clone()),
                Some(reason) => Decision::QuarantineEvent(reason),
                None => Decision::Nothing,
            }
        }
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

/// Whether a session is the order's, as far as is known: after a crash its id may not be stored yet.
fn is_its_session(order: &Order, session_id: &str) -> bool {
    order.checkout_session_id.as_deref().is_none_or(|own| own == session_id)
}

#[cfg(test)]
mod tests {
    use sea_orm::Iterable;

    use super::*;

    fn order(status: OrderStatus) -> Order {
        let paid = !matches!(status, OrderStatus::Open | OrderStatus::Processing | OrderStatus::Expired);
        Order {
            id: "o".into(),
            document_id: "d".into(),
            user_id: "u".into(),
            pages: 12,
            unit_minor: 50,
            amount_minor: 600,
            currency: "EUR".into(),
            status,
            provider_request: String::new(),
            checkout_session_id: Some("cs_1".into()),
            checkout_url: None,
            provider_payment_id: paid.then(|| "pi_1".into()),
            job_id: None,
            created_at: 0,
            paid_at: None,
            expires_at: 0,
            checked_at: 0,
        }
    }

    fn payment(id: &str, amount_minor: i64, currency: &str) -> Payment {
        Payment { id: id.into(), amount_minor, currency: currency.into() }
    }

    fn notices() -> Vec<Notice> {
        let mut notices = vec![Notice::Processing, Notice::Incomplete];
        for session_id in ["cs_1", "cs_2"] {
            notices.push(Notice::Expired { session_id: session_id.into() });
            notices.push(Notice::Failed { session_id: session_id.into() });
        }
        for id in ["pi_1", "pi_2"] {
            for (amount, currency) in [(600, "EUR"), (599, "EUR"), (601, "EUR"), (0, "EUR"), (600, "USD")] {
                notices.push(Notice::Paid(payment(id, amount, currency)));
            }
        }
        notices
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
        fn walk(order: &Order, payments: u32, depth: u32) {
            assert!(payments <= 1, "paid twice");
            if depth == 0 {
                return;
            }
            for notice in notices() {
                let decision = decide(order, &notice);
                let mut next = order.clone();
                next.status = target(order.status, &decision);
                assert!(rank(next.status) >= rank(order.status), "{:?} {notice:?}", order.status);
                let paid = u32::from(matches!(decision, Decision::Pay(_)));
                if let Decision::Pay(payment)
                | Decision::RefundLate(payment)
                | Decision::QuarantineOrder(payment, _) = decision
                {
                    next.provider_payment_id = Some(payment.id);
                }
                walk(&next, payments + paid, depth - 1);
            }
        }
        walk(&order(OrderStatus::Open), 0, 4);
    }

    #[test]
    fn only_the_exact_amount_and_currency_pay() {
        for status in OrderStatus::iter() {
            for notice in notices() {
                if let Decision::Pay(payment) = decide(&order(status), &notice) {
                    assert_eq!((payment.amount_minor, payment.currency.as_str()), (600, "EUR"));
                    assert!(matches!(status, OrderStatus::Open | OrderStatus::Processing));
                }
            }
        }
        let low = Notice::Paid(payment("pi_1", 599, "EUR"));
        let decision = decide(&order(OrderStatus::Open), &low);
        assert!(matches!(decision, Decision::QuarantineOrder(_, "AMOUNT_MISMATCH")));
        let dollars = Notice::Paid(payment("pi_1", 600, "USD"));
        let decision = decide(&order(OrderStatus::Processing), &dollars);
        assert!(matches!(decision, Decision::QuarantineOrder(_, "CURRENCY_MISMATCH")));
    }

    #[test]
    fn a_second_payment_goes_back_and_the_same_one_changes_nothing() {
        for status in [OrderStatus::Paid, OrderStatus::Delivered, OrderStatus::Refunded] {
            let same = Notice::Paid(payment("pi_1", 600, "EUR"));
            assert_eq!(decide(&order(status), &same), Decision::Nothing);
            let other = payment("pi_2", 600, "EUR");
            let decision = decide(&order(status), &Notice::Paid(other.clone()));
            assert_eq!(decision, Decision::RefundExtra(other));
        }
    }

    #[test]
    fn only_its_own_session_expires_an_order() {
        let expired = |id: &str| Notice::Expired { session_id: id.into() };
        let open = order(OrderStatus::Open);
        assert_eq!(decide(&open, &expired("cs_2")), Decision::Nothing);
        assert!(matches!(decide(&open, &expired("cs_1")), Decision::Expire(_)));
        assert_eq!(decide(&order(OrderStatus::Paid), &expired("cs_1")), Decision::Nothing);
        assert_eq!(decide(&order(OrderStatus::Processing), &expired("cs_1")), Decision::Nothing);
    }
}
