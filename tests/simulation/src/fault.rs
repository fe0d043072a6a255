//! What may go wrong, and which of it does in one run.

use crate::dice::Dice;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $per_mille:literal,)*) => {
        /// One kind of trouble.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in the summary.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// How many times of a thousand it strikes where it can.
            #[must_use]
            pub const fn per_mille(self) -> u32 {
                match self { $(Self::$name => $per_mille,)* }
            }
        }
    };
}

faults! {
    /// The broker refuses an order.
    OrderRefused = 200,
    /// The broker takes an order that the exchange refuses later.
    RefusedByExchange = 100,
    /// The answer comes long after the deadline.
    AnswerLate = 150,
    /// The order is taken, and its call never comes back.
    AnswerNever = 60,
    /// The order is taken, and the answer says that nothing is known.
    AcceptedSilently = 250,
    /// The order is lost, and the answer says that nothing is known.
    OrderLost = 250,
    /// The order is lost, and its call never comes back.
    OrderLostAnswerNever = 60,
    /// The answer says that nothing is known, and the order arrives seconds later.
    OrderSlow = 200,
    /// The order arrives after minutes, against the broker's promise.
    OrderOverdue = 100,
    /// The broker drops our id from the order.
    RemarkCut = 200,
    /// The broker numbers its orders and trades from one again every day.
    NamesReused = 1000,
    /// A pushed row comes twice.
    PushTwice = 300,
    /// A pushed row comes late, behind later ones.
    PushLate = 300,
    /// A pushed row never comes.
    PushLost = 400,
    /// A row says that the broker itself does not know.
    RowUnclear = 150,
    /// A pushed row names an instrument that is none.
    RowUnreadable = 100,
    /// A snapshot fails.
    SnapshotFails = 300,
    /// A snapshot lacks what happened in the last seconds.
    SnapshotLags = 500,
    /// A snapshot takes longer than the deadline.
    SnapshotSlow = 60,
    /// A row of a snapshot is unreadable, so that the snapshot is none.
    SnapshotUnreadable = 150,
    /// A cancel is refused.
    CancelRefused = 400,
    /// A cancel is passed on, and its answer is lost.
    CancelUnanswered = 300,
    /// A cancel is accepted and forgotten.
    CancelIgnored = 300,
    /// The order is filled while it is being cancelled.
    FillDuringCancel = 400,
    /// A trade shows after its order was shown as cancelled.
    FillAfterCancel = 300,
    /// The broker cancels an order by itself.
    CancelledByBroker = 100,
    /// The connection to the broker is lost for a while.
    LinkDown = 500,
    /// Somebody else trades on the account.
    ForeignOrder = 500,
    /// Somebody else's order looks like one of ours.
    ForeignTwin = 500,
    /// One answer holds a signal twice.
    SignalTwice = 300,
    /// An old answer with signals comes again.
    SignalsStale = 300,
    /// An answer with signals never comes.
    SignalsLost = 300,
    /// A signal that cannot be understood.
    SignalInvalid = 200,
    /// The backend raises the number of a signal's attempt whatever became of the last one.
    RetryForced = 300,
    /// The backend tries a failed signal again.
    RetryAfterFailure = 500,
    /// The backend holds as submitted what the journal has never seen.
    HeldUnknown = 300,
    /// A signal is valid for seconds.
    ValidShortly = 300,
    /// A signal is to be sent later.
    ActivatedLater = 300,
    /// The backend does not answer a post.
    PostFails = 400,
    /// The backend takes a post, and its answer is lost.
    PostAnswerLost = 400,
    /// The backend refuses a post for good.
    PostRefused = 150,
    /// A person wants an order cancelled.
    CancelWish = 500,
    /// A person halts trading for a while.
    Halt = 500,
    /// A person decides what is under review.
    PersonDecides = 1000,
    /// Death with a turn decided and not durable.
    CrashBeforeCommit = 30,
    /// Death with a turn durable and no effect gone.
    CrashAfterCommit = 30,
    /// Death with some of a turn's effects gone.
    CrashInDispatch = 30,
    /// Death inside the call that places an order.
    CrashInCall = 80,
    /// Death while starting.
    CrashInRecovery = 250,
    /// Death at any moment.
    CrashAnytime = 500,
    /// The host stays down for hours or for the night.
    DownForLong = 150,
    /// The disk is full for a while.
    DiskFull = 30,
    /// The clock is set forward.
    ClockForward = 500,
    /// The clock is set back.
    ClockBack = 500,
    /// The machine sleeps.
    Sleep = 500,
    /// The run goes on over midnight.
    Midnight = 400,
    /// The run goes on over a weekend.
    Weekend = 150,
}

/// The kinds that may strike in one run. Few at a time reach combinations that all at once do not.
#[derive(Debug, Clone, Copy)]
pub struct Swarm(u128);

impl Swarm {
    /// A random subset: none, few, half or most.
    pub fn draw(dice: &mut Dice) -> Self {
        let share = [0, 60, 150, 300, 500, 800][dice.index(6)];
        let mut on = 0;
        for (bit, _) in Fault::ALL.iter().enumerate() {
            on |= u128::from(dice.chance(share)) << bit;
        }
        Self(on)
    }

    /// True when this kind may strike.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 >> (fault as u32) & 1 == 1
    }
}
