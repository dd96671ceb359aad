"""The timeline of an issue's page: comments as boxes, other events as lines, label changes grouped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from app.sandbox.github.world import Comment, Event, Issue, Label

# Label changes by the same account within this time share one line.
LABEL_GROUP_PERIOD = timedelta(seconds=60)

EVENT_ICONS_AND_TEXTS = {
    "assigned": ("person", "assigned"),
    "unassigned": ("person", "removed the assignment of"),
    "renamed": ("pencil", "changed the title"),
    "closed": ("closed", "closed this"),
    "reopened": ("open", "reopened this"),
    "locked": ("lock", "locked this conversation"),
    "unlocked": ("lock", "unlocked this conversation"),
    "milestoned": ("flag", "added this to the milestone"),
    "demilestoned": ("flag", "removed this from the milestone"),
    "cross-referenced": ("link", "mentioned this in"),
    "merged": ("merged", "merged commit"),
    "review_requested": ("eye", "requested a review from"),
    "transferred": ("link", "transferred this here"),
    "comment_deleted": ("trash", "deleted a comment"),
    "sub_issue_added": ("link", "added a sub-issue"),
    "parent_issue_added": ("link", "added a parent issue"),
    "base_ref_changed": ("branch", "changed the base branch"),
}


@dataclass
class TimelineItem:
    """One line or comment box of the page."""

    event: Event
    icon: str
    text: str
    comment: Comment | None = None
    added: list[Label] = field(default_factory=list)
    removed: list[Label] = field(default_factory=list)


def timeline_items(issue: Issue) -> list[TimelineItem]:
    """Return the items that an issue's page shows, oldest first."""
    return list(_iterate_items(issue))


def _iterate_items(issue: Issue) -> Iterator[TimelineItem]:
    labels: TimelineItem | None = None
    for event in issue.timeline:
        if event.label is not None:
            if labels is None or not _is_same_group(labels.event, event):
                if labels is not None:
                    yield labels
                labels = TimelineItem(event, "tag", "labels")
            (labels.added if event.event == "labeled" else labels.removed).append(event.label)
            continue
        if labels is not None:
            yield labels
            labels = None
        if event.comment is not None:
            yield TimelineItem(event, "comment", "commented", comment=event.comment)
        else:
            icon, text = EVENT_ICONS_AND_TEXTS.get(event.event, ("dot", event.event.replace("_", " ")))
            if event.event == "closed" and event.state_reason == "not_planned":
                icon, text = "skipped", "closed this as not planned"
            elif event.event == "closed" and not issue.pull:
                text = "closed this as completed"
            yield TimelineItem(event, icon, text)
    if labels is not None:
        yield labels


def _is_same_group(first: Event, second: Event) -> bool:
    return first.actor is second.actor and second.at - first.at <= LABEL_GROUP_PERIOD
