"""Each mistake in a policy file gives exactly one fault."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from app.policy_file import PolicyFault, PolicyFaults, read_policy

from .errors import policy_errors, single_error

MISTAKES = [
    ("escalation: {sev1: [{after: soon, to: cto}]}", "1:29: escalation.sev1[0].after: 'soon' is not a duration, such as 15m, 4h, 3d or 1bd"),
    ("severities: {sev1: {respond: 59s}}", "1:30: severities.sev1.respond: '59s' is out of range, from 1m to 365d, or 0m for at once"),
    ("severities: {sev1: {respond: 366bd}}", "1:30: severities.sev1.respond: '366bd' is too long, at most 365bd"),
    ("severities: {sev1: {respond: }}", "1:29: severities.sev1.respond: nothing is written here, write a value, or take the key out"),
    ("severities: {sev1: {respond: [1h]}}", "1:30: severities.sev1.respond: a list stands here, write a map, such as key: value"),
    ("severities: {sev1: {update: 0m}}", "1:29: severities.sev1.update: '0m' would repeat without a pause, such as 15m"),
    ("severities: {sev1: 15m}", "1:20: severities.sev1: '15m' stands here, write a map, such as key: value"),
    ("severities: {sev1: {resond: 1h}}", "1:21: severities.sev1.resond: 'resond' is not a key here, did you mean respond? use one of commander, acknowledge, respond, update, resolve"),
    ("severities: {sev4: {acknowledge: {calendar: business}}}", "1:34: severities.sev4.acknowledge: within is missing, write within: with its value"),
    ("severities: {sev1: {respond: {within: 1h, calendar: busines}}}", "1:53: severities.sev1.respond.calendar: 'busines' is not a calendar, did you mean business? use one of business, team"),
    ("severities: {sev5: {}}", "1:14: severities.sev5: 'sev5' is not a severity, did you mean sev4? use one of sev1, sev2, sev3, sev4"),
    ("severities: {P1: {}}", "1:14: severities.P1: 'P1' is a name of the other scale, use one of sev1, sev2, sev3, sev4, or write scale: p"),
    ("scale: p\nseverities: {sev1: {}, P0: {}}", "2:24: severities.P0: 'P0' is 'sev1' again, keep one"),
    ("escalation: {sev1: [{to: cto}]}", "1:21: escalation.sev1[0]: after is missing, write after: with its value"),
    ("escalation: {sev1: [{after: 1h}]}", "1:21: escalation.sev1[0]: the step does nothing, write to: with a contact, or do: with what is asked for"),
    ("escalation: {sev1: {after: 1h, to: cto}}", "1:20: escalation.sev1: a map stands here, write a list, each line beginning with a dash"),
    ("escalation: {sev1: [{after: 1h, to: ctoo}]}", "1:37: escalation.sev1[0].to: 'ctoo' is not a contact, did you mean cto? add it to contacts:"),
    ("people: {zoe: }\nescalation: {sev1: [{after: 1h, to: [zoe]}]}", "2:38: escalation.sev1[0].to[0]: 'zoe' is a person, name a contact that this person holds, see contacts:"),
    ("escalation: {sev1: [{after: 1h, to: cto, until: acked}]}", "1:49: escalation.sev1[0].until: 'acked' is not an end of a step, did you mean ack? use one of ack, resolved"),
    ("escalation: {sev1: [{after: 1h, to: cto, repeat: 0m}]}", "1:50: escalation.sev1[0].repeat: '0m' would repeat without a pause, such as 5m"),
    ("escalation: {sev1: }", "1:19: escalation.sev1: nothing is written here, write [] for none"),
    ("extends: org", "1:10: extends: there is no policy of an organisation to extend, use one of guide, procedure, p-scale, strict"),
    ("extends: guides", "1:10: extends: 'guides' is not a profile, did you mean guide? use one of guide, procedure, p-scale, strict, org"),
    ("extends: [guide]", "1:10: extends: a list is not a profile, use one of guide, procedure, p-scale, strict, org"),
    ("scale: severity", "1:8: scale: 'severity' is not a scale, use one of sev, p"),
    ("timezone: europe/berlin", "1:11: timezone: 'europe/berlin' is not an IANA time zone, did you mean Europe/Berlin?"),
    ("timezone: Kolkata", "1:11: timezone: 'Kolkata' is not an IANA time zone, did you mean Asia/Kolkata?"),
    ("timezone: ../../etc/passwd", "1:11: timezone: '../../etc/passwd' is not an IANA time zone, such as Europe/Berlin"),
    ("warnings: [80, 50]", "1:11: warnings: the warnings do not rise, such as [50, 80]"),
    ("warnings: [50, 120]", "1:16: warnings[1]: '120' is more than the whole target, 1 to 100"),
    ("silence: two", "1:10: silence: 'two' is not a number from 1, such as 2"),
    ("silence: 0x10", "1:10: silence: '0x10' is not a number from 1, such as 2"),
    ("calendars: {business: {hours: 9-17}}", "1:31: calendars.business.hours: '9-17' are not hours, such as 09:00-17:00"),
    ("calendars: {business: {hours: 09:00-25:00}}", "1:31: calendars.business.hours: '09:00-25:00' has a time that no clock shows, such as 09:00-17:00 or 00:00-24:00"),
    ("calendars: {business: {hours: 09:00-09:00}}", "1:31: calendars.business.hours: '09:00-09:00' never opens, such as 09:00-17:00, or 00:00-24:00 for the whole day"),
    ("calendars: {business: {days: []}}", "1:30: calendars.business.days: the calendar has no open day, such as mon-fri"),
    ("calendars: {business: {days: [mon, Moonday]}}", "1:36: calendars.business.days[1]: 'Moonday' is not a weekday, use mon, tue, wed, thu, fri, sat, sun or a range such as mon-fri"),
    ("calendars: {business: {holidays: [2026-02-30]}}", "1:35: calendars.business.holidays[0]: '2026-02-30' is not in the calendar, such as 2026-12-24"),
    ("calendars: {business: {holidays: [24.12.2026]}}", "1:35: calendars.business.holidays[0]: '24.12.2026' is not a date, such as 2026-12-24"),
    ("calendars: {slow: {hours: 09:00-09:01, days: mon}}\nseverities: {sev4: {resolve: {within: 30d, calendar: slow}}}", "2:30: severities.sev4.resolve: 30d of the open hours of slow take over ten years, such as 4h"),
    ("people: {mona: {name: [a]}}", "1:23: people.mona.name: a list stands here, write a single value"),
    ("people: {mona: {name: ''}}", "1:23: people.mona.name: a text of 0 characters, 1 to 200"),
    ("people: {Mona Lisa: {}}", "1:10: people.Mona Lisa: 'Mona Lisa' is not a GitHub login, such as mona"),
    ("people: {mona: {}, Mona: {}}", "1:20: people.Mona: 'Mona' is 'mona' again, keep one"),
    ("contacts: {on-call: '@mona'}", "1:21: contacts.on-call: '@mona' begins with an @, write mona"),
    ("contacts: {on-call: [mona, acme/sre]}", "1:28: contacts.on-call[1]: 'acme/sre' is a team, people, not teams, are mentioned: write the logins of its members"),
    ("contacts: {on-call: mona-}", "1:21: contacts.on-call: 'mona-' is not a GitHub login, such as mona"),
    ("contacts: {On-Call: mona}", "1:12: contacts.On-Call: 'On-Call' is not written like 'on-call', write on-call"),
    ("contacts: {oncall: mona}", "1:12: contacts.oncall: 'oncall' is not written like 'on-call', write on-call"),
    ("contacts: {sre 1: mona, sre1: mona}", "1:25: contacts.sre1: 'sre1' is 'sre 1' again, keep one"),
    ("contacts: {'a,b': mona}", "1:12: contacts.a,b: 'a,b' is not a name, 1 to 50 characters without commas or a leading @, such as on-call"),
    ("matrix: {high: {hihg: sev1}}", "1:17: matrix.high.hihg: 'hihg' is not a level, did you mean high? use one of high, medium, low"),
    ("floors: [{because: all, at-least: sev1}]", "1:10: floors[0]: the floor is under every incident, give it a type, an impact, personal-data or a service"),
    ("floors: [{because: x, at-least: sev1, type: outage}]", "1:45: floors[0].type: 'outage' is not a type of incident, did you mean service outage? use one of service outage, performance degradation, data loss or corruption, security breach, integration failure, data privacy incident"),
    ("labels: {paused: ''}", "1:18: labels.paused: a label without a name, 1 to 50 characters"),
    ("labels: {paused: 'a,b'}", "1:18: labels.paused: 'a,b' has a comma, a label's name has none"),
    ("labels: {paused: ' a'}", "1:18: labels.paused: ' a' begins or ends with a space, write 'a'"),
    (f"labels: {{paused: {'a' * 51}}}", f"1:18: labels.paused: '{'a' * 39}…' has 51 characters, GitHub's labels end at 50"),
    ("labels: {acknowledged: Resolved}", "1:24: labels.acknowledged: the label 'resolved' is used for acknowledged and for resolved, give each its own"),
    ("labels: {severities: [a, b, c]}", "1:22: labels.severities: a list stands here, write a list of 4, or a map by severity"),
    ("labels: {severities: [a, b, c, A]}", "1:22: labels.severities: the label 'A' is used for severities and for severities, give each its own"),
    ("intake: {fields: {Wann: when}}", "1:25: intake.fields.Wann: 'when' is not a field of a report, use one of summary, severity, impact, urgency, type, services, source, started-at, detected-at, symptoms, affected, revenue, workaround, personal-data"),
    ("intake: {fields: {Art: type, art: type}}", "1:30: intake.fields.art: 'art' is 'Art' again, keep one"),
    ("postmortem: {reviewers: nobody}", "1:25: postmortem.reviewers: 'nobody' is not a contact, add it to contacts:"),
    ("silence: 2\nsilence: 3", "2:1: silence: 'silence' stands in line 1 already, keep one"),
    ("slience: 2", "1:1: slience: 'slience' is not a key here, did you mean silence? use one of extends, scale, aliases, timezone, severities, warnings, silence, audiences, regulations, calendars, escalation, first-notice, channels, people, contacts, teams, roles, rotations, services, runbooks, war-room, overrides, matrix, floors, labels, intake, alerts, closing, postmortem, goals, retention"),
    ("aliases: {sev1: [critical], sev2: [Critical]}", "1:35: aliases.sev2: 'Critical' is sev1 already, give each its own"),
    ("aliases: {sev1: [sev2]}", "1:17: aliases.sev1: 'sev2' is sev2 already, give each its own"),
    ("aliases: {sev1: '@a'}", "1:17: aliases.sev1: '@a' is not a name, 1 to 50 characters without commas or a leading @, such as on-call"),
    ("calendars: {team: {}}", "1:19: calendars.team: 'team' stands for the calendar of the team that owns a service, give it another name"),
    ("contacts: {Owner: mona}", "1:19: contacts.Owner: 'Owner' stands for the team that owns a service, give it another name"),
    ("teams: {owner: {members: mona}}", "1:16: teams.owner: 'owner' stands for the team that owns a service, give it another name"),
    ("calendars: {business: {country: Germany}}", "1:33: calendars.business.country: 'Germany' is not an ISO 3166-1 code of a country whose holidays are known, such as DE or US"),
    ("calendars: {business: {country: de}}", "1:33: calendars.business.country: 'de' is not an ISO 3166-1 code of a country whose holidays are known, did you mean DE?"),
    ("calendars: {business: {country: DE, region: XX}}", "1:45: calendars.business.region: 'XX' is not a region of DE with holidays of its own, use one of BB, BE, BW, BY, HB, HE, HH, MV, NI, NW, RP, SH, SL, SN, ST, TH, Augsburg"),
    ("calendars: {business: {region: BE}}", "1:32: calendars.business.region: a region without its country, write country: beside it, such as DE"),
    ("calendars: {business: {holidays: 2026-12-24, workdays: 2026-12-24}}", "1:56: calendars.business.workdays: 2026-12-24 is a day off and a day of work, keep one"),
    ("calendars: {business: off}", "1:23: calendars.business: 'off' stands here, write a map, such as key: value"),
    ("calendars: {late: {hours: 09:00}}", "1:27: calendars.late.hours: '09:00' are not hours, such as 09:00-17:00"),
    ("severities: {sev1: {respond: {within: 1h, calendar: tem}}}", "1:53: severities.sev1.respond.calendar: 'tem' is not a calendar, did you mean team? use one of business, team"),
    ("teams: {payments: {members: mona, calendar: team}}", "1:45: teams.payments.calendar: 'team' is not a calendar, use one of business"),
    ("teams: {payments: {members: mona, on-call: payment}}", "1:44: teams.payments.on-call: 'payment' is not a rotation, add it to rotations:"),
    ("rotations: {payments: {people: mona}}\nteams: {a: {members: mona, on-call: payment}}", "2:37: teams.a.on-call: 'payment' is not a rotation, did you mean payments? add it to rotations:"),
    ("services: {checkout: {owner: payments}}", "1:30: services.checkout.owner: 'payments' is not a team, add it to teams:"),
    ("teams: {payments: {members: mona}}\nservices: {checkout: {owner: payment}}", "2:30: services.checkout.owner: 'payment' is not a team, did you mean payments? add it to teams:"),
    ("services: {checkout: {runbooks: [database]}}", "1:34: services.checkout.runbooks[0]: 'database' is not a runbook, add it to runbooks:"),
    ("services: {checkout: {on-call: on-call}}", "1:32: services.checkout.on-call: 'on-call' is not a rotation, add it to rotations:"),
    ("services: {a: {aliases: [shop]}, b: {aliases: [Shop]}}", "1:47: services.b.aliases: 'Shop' is used for a and for b, give each its own"),
    ("services: {a: {aliases: [b]}, b: {}}", "1:25: services.a.aliases: 'b' is used for b and for a, give each its own"),
    ("overrides: [{services: chekout, contacts: {cto: mona}}]\nservices: {checkout: {aliases: shop}}", "1:24: overrides[0].services: 'chekout' is not a service, did you mean checkout? add it to services:"),
    ("overrides: [{services: shop, contacts: {cto: mona}}]\nservices: {checkout: {aliases: shop}}", "1:24: overrides[0].services: 'shop' is another name of a service, write checkout"),
    ("overrides: [{services: a}]\nservices: {a: {}}", "1:13: overrides[0]: the override changes nothing, write severities:, escalation:, first-notice: or contacts:"),
    ("overrides: [{severities: {sev1: {respnd: 5m}}}]", "1:34: overrides[0].severities.sev1.respnd: 'respnd' is not a clock, did you mean respond? use one of commander, acknowledge, respond, update, resolve"),
    ("overrides: [{severities: {sev1: {update: 0m}}}]", "1:42: overrides[0].severities.sev1.update: '0m' would repeat without a pause, such as 15m"),
    ("overrides: [{severities: {sev1: {respond: {calendar: business}}}}]", "1:43: overrides[0].severities.sev1.respond: within is missing, write within: with its value"),
    ("overrides: [{contacts: {ctoo: mona}}]", "1:25: overrides[0].contacts.ctoo: 'ctoo' is not a contact, did you mean cto? add it to contacts:"),
    ("overrides: [{contacts: {a: mona}}]\nteams: {a: {members: mona}}", "1:25: overrides[0].contacts.a: 'a' is a team, not a contact, tell another contact in escalation:"),
    ("floors: [{because: x, at-least: sev1, service: shop}]", "1:48: floors[0].service: 'shop' is not a service, add it to services:"),
    ("rotations: {night: {}}", "1:20: rotations.night: nobody takes a turn, write people: with their logins, or feed: with an iCalendar"),
    ("rotations: {night: {turn: weekly, feed: ../x.ics}}", "1:41: rotations.night.feed: '../x.ics' is no feed, write an https address, env:FEED_NAME, or a path in the repository such as on-call.ics"),
    ("rotations: {night: {feed: http://example.com/x.ics}}", "1:27: rotations.night.feed: 'http://example.com/x.ics' is no feed, write an https address, env:FEED_NAME, or a path in the repository such as on-call.ics"),
    ("rotations: {night: {feed: 'env:lower'}}", "1:27: rotations.night.feed: 'env:lower' is no feed, write an https address, env:FEED_NAME, or a path in the repository such as on-call.ics"),
    ("rotations: {night: {feed: 'https://me@example.com/x.ics'}}", "1:27: rotations.night.feed: 'https://me@example.com/x.ics' is not an https address, such as https://example.com/page"),
    ("rotations: {night: {people: mona, turn: 2bd}}", "1:41: rotations.night.turn: '2bd' counts business days, nights have somebody on call too: such as weekly or 10d"),
    ("rotations: {night: {people: mona, turn: 5m}}", "1:41: rotations.night.turn: '5m' is too short for a turn, from 1h, such as 12h or weekly"),
    ("rotations: {night: {people: mona, turn: fortnightly}}", "1:41: rotations.night.turn: 'fortnightly' is not a turn, such as weekly, two-weekly, 10d or 12h"),
    ("rotations: {night: {people: mona, hand-off: 25:00}}", "1:45: rotations.night.hand-off: '25:00' is not a time of the day, such as 09:00"),
    ("rotations: {night: {people: mona, overrides: [{from: 2026-12-24, until: 2026-12-25 09:00, person: hubot}]}}", "1:54: rotations.night.overrides[0].from: '2026-12-24' is not a date with a time, such as 2026-12-24 18:00"),
    ("rotations: {night: {people: mona, overrides: [{from: 2026-02-30 18:00, until: 2026-12-25 09:00, person: hubot}]}}", "1:54: rotations.night.overrides[0].from: '2026-02-30' is not in the calendar, such as 2026-12-24"),
    ("rotations: {night: {people: mona, overrides: [{from: 2026-12-26 18:00, until: 2026-12-25 09:00, person: hubot}]}}", "1:79: rotations.night.overrides[0].until: it ends before it begins, write a time after 2026-12-26 18:00"),
    ("rotations: {night: {people: mona, shifts: []}}", "1:35: rotations.night.shifts: 'shifts' is not a key here, use one of people, secondary, turn, starts, hand-off, timezone, overrides, feed"),
    ("rotations: {oncall: {people: mona}}", "1:21: rotations.oncall: 'oncall' is not written like 'on-call', write on-call"),
    ("contacts: {night: mona}\nrotations: {night: {people: mona}}", "2:20: rotations.night: 'night' is used for a contact and for a rotation, give each its own"),
    ("teams: {night: {members: mona}}\nroles: {night: {holder: mona}}", "2:16: roles.night: 'night' is used for a role and for a team, give each its own"),
    ("runbooks: {a: {}}", "1:15: runbooks.a: link is missing, write link: with its value"),
    ("runbooks: {a: {link: /etc/passwd}}", "1:22: runbooks.a.link: '/etc/passwd' is no link, write an https address, or a path in the repository such as docs/runbook.md"),
    ("runbooks: {a: {link: docs/../../x.md}}", "1:22: runbooks.a.link: 'docs/../../x.md' is no link, write an https address, or a path in the repository such as docs/runbook.md"),
    ("runbooks: {a: {link: 'javascript:alert(1)'}}", "1:22: runbooks.a.link: 'javascript:alert(1)' is no link, write an https address, or a path in the repository such as docs/runbook.md"),
    ("runbooks: {a: {link: 'https://'}}", "1:22: runbooks.a.link: 'https://' is not an https address, such as https://example.com/page"),
    ("war-room: {name: '{{ room }}'}", "1:18: war-room.name: 'room' is not filled in here, use one of id, number, service"),
    ("war-room: {link: 'https://{{ id }}.example.com/'}", "1:18: war-room.link: 'https://{{ id }}.example.com/' has a blank in the name of its host, such as https://meet.example.com/{{ room }}"),
    ("war-room: {link: 'https://meet.example.com/{{ rom }}'}", "1:18: war-room.link: 'rom' is not filled in here, did you mean room? use one of id, number, service, room"),
    ("war-room: {link: 'http://meet.example.com/{{ room }}'}", "1:18: war-room.link: 'http://meet.example.com/{{ room }}' is not an https address, such as https://meet.example.com/{{ room }}"),
    ("audiences: {executives: {updates: {sev1: 0m}}}", "1:42: audiences.executives.updates.sev1: '0m' would repeat without a pause, such as 5m"),
    ("audiences: {executives: {to: [exec]}}", "1:31: audiences.executives.to[0]: 'exec' is not a contact, add it to contacts:"),
    ("regulations: {law: {}}", "1:20: regulations.law: within is missing, write within: with its value"),
    ("regulations: {law: {within: 2bd}}", "1:29: regulations.law.within: '2bd' counts business days, every hour counts here: such as 72h"),
    ("regulations: {law: {within: 72h, since: detection}}", "1:41: regulations.law.since: 'detection' is not a beginning of that clock, did you mean declaration? use one of awareness, declaration"),
    ("first-notice: {sev1: {via: [phone]}}", "1:29: first-notice.sev1.via[0]: 'phone' is not a kind of channel, use one of pager, chat, mail, webhook"),
    ("first-notice: {sev1: {to: leadershp}}", "1:27: first-notice.sev1.to: 'leadershp' is not a contact, did you mean leadership? add it to contacts:"),
    ("channels: {ops: {url: env:X, secret: hunter2hunter2}}", "1:38: channels.ops.secret: a secret stands here, never write it into the file: env:CHANNEL_NAME_SECRET, such as env:CHANNEL_OPS_SECRET"),
    ("channels: {ops: {url: env:CHANNEL_X, secret: env:CHANNEL_X_SECRET, for: []}}", "1:73: channels.ops.for: the channel carries nothing, such as [pager, chat], or take the channel out"),
    ("channels: {ops: {url: http://x, secret: env:Y}}", "1:23: channels.ops.url: 'http://x' is not where a message can go, write an https address, or env:CHANNEL_NAME"),
    ("channels: {ops: {url: https://169.254.169.254/latest, secret: env:Y}}", "1:23: channels.ops.url: '169.254.169.254' is not on the public Internet, such as https://hooks.example.com/muster"),
    ("channels: {ops: {url: https://x.example:22/, secret: env:Y}}", "1:23: channels.ops.url: port 22 is not asked, only 443 and 8443, such as https://hooks.example.com/muster, or env:CHANNEL_NAME"),
    # FC-C16, FC-S3: a policy names the operator's channels and feeds, and nothing else of the environment.
    ("channels: {ops: {url: env:PATH}}", "1:23: channels.ops.url: 'env:PATH' is no channel of the operator, write env:CHANNEL_OPS, for which the operator sets CHANNEL_OPS_URL and CHANNEL_OPS_SECRET"),
    ("channels: {ops: {url: env:GITHUB_WEBHOOK_SECRET}}", "1:23: channels.ops.url: 'env:GITHUB_WEBHOOK_SECRET' is no channel of the operator, write env:CHANNEL_OPS, for which the operator sets CHANNEL_OPS_URL and CHANNEL_OPS_SECRET"),
    ("channels: {ops: {url: env:CHAT_URL, secret: env:CHAT_SECRET}}", "1:23: channels.ops.url: 'env:CHAT_URL' is no channel of the operator, write env:CHANNEL_CHAT, for which the operator sets CHANNEL_CHAT_URL and CHANNEL_CHAT_SECRET"),
    ("channels: {ops: {url: env:CHANNEL_A_SECRET}}", "1:23: channels.ops.url: 'env:CHANNEL_A_SECRET' is no channel of the operator, write env:CHANNEL_OPS, for which the operator sets CHANNEL_OPS_URL and CHANNEL_OPS_SECRET"),
    ("channels: {ops: {url: env:CHANNEL_A_URL_URL}}", "1:23: channels.ops.url: 'env:CHANNEL_A_URL_URL' is no channel of the operator, write env:CHANNEL_OPS, for which the operator sets CHANNEL_OPS_URL and CHANNEL_OPS_SECRET"),
    ("channels: {ops: {url: env:CHANNEL_A, secret: env:CHANNEL_B_SECRET}}", "1:46: channels.ops.secret: 'env:CHANNEL_B_SECRET' is not the secret of CHANNEL_A, take secret: out, the channel has its own"),
    ("channels: {ops: {url: env:CHANNEL_A, secret: env:DATABASE_URL}}", "1:46: channels.ops.secret: 'env:DATABASE_URL' is not the secret of CHANNEL_A, take secret: out, the channel has its own"),
    ("channels: {ops: {url: https://x.example/, secret: env:CHANNEL_A_SECRET}}", "1:51: channels.ops.secret: an address in this file is signed with no secret of the operator, take secret: out, or write url: env:CHANNEL_NAME for an address that the operator keeps"),
    ("rotations: {night: {feed: env:ON_CALL_FEED}}", "1:27: rotations.night.feed: 'env:ON_CALL_FEED' is no feed of the operator, write env:FEED_NAME, such as env:FEED_ON_CALL, for which the operator sets FEED_ON_CALL"),
    ("rotations: {night: {feed: env:FEED_A_FOR}}", "1:27: rotations.night.feed: 'env:FEED_A_FOR' is no feed of the operator, write env:FEED_NAME, such as env:FEED_ON_CALL, for which the operator sets FEED_ON_CALL"),
    ("rotations: {night: {feed: env:DATABASE_URL}}", "1:27: rotations.night.feed: 'env:DATABASE_URL' is no feed of the operator, write env:FEED_NAME, such as env:FEED_ON_CALL, for which the operator sets FEED_ON_CALL"),
    ("people: {mona: {mail: mona}}", "1:23: people.mona.mail: 'mona' is not a mail address, such as mona@example.com"),
    ("escalation: {sev1: [{after: 0m, to: cto, until: ack, repeat: 1m}, {after: 1m, to: ceo, until: ack, repeat: 1m}]}", "1:67: escalation.sev1[1]: with this step it pages 120 times an hour, at most 60: repeat less often"),
    ("escalation: {sev1: [" + ", ".join(f"{{after: {n}m, to: cto, until: ack}}" for n in range(60)) + "]}", "1:431: escalation.sev1[12]: 60 steps page at the same time, at most 12"),
    ("rotations: {on-call: {people: [kai], overrides: [{from: 2026-01-01 00:00, until: 9999-12-31 23:59, person: kai}]}}", "1:82: rotations.on-call.overrides[0].until: '9999-12-31' is not between 2000 and 2100, such as 2026-12-24"),
    ("rotations: {on-call: {people: [kai], starts: 0001-01-01}}", "1:46: rotations.on-call.starts: '0001-01-01' is not between 2000 and 2100, such as 2026-12-24"),
    ("calendars: {business: {holidays: [2101-01-01]}}", "1:35: calendars.business.holidays[0]: '2101-01-01' is not between 2000 and 2100, such as 2026-12-24"),
    ("escalation: {sev1: [{after: 1h, to: cto, repeat: 5m}]}", "1:50: escalation.sev1[0].repeat: only a page is repeated, and this step is none, write until: ack, or take repeat: out"),
    ("escalation: {sev1: [{after: 60m, to: cto}, {after: 1h, to: cto}]}", "1:44: escalation.sev1[1]: the step is told to the same after the same time as [0], make one of them"),
    ("alerts: {x: {above: slow, severity: sev1}}", "1:21: alerts.x.above: 'slow' is not a reading, a number with its unit, such as 5 s, 90 % or 100/min"),
    ("alerts: {x: {above: 5 s}}", "1:13: alerts.x: severity is missing, write severity: with its value"),
    ("closing: {verify: [a, '']}", "1:23: closing.verify[1]: a text of 0 characters, 1 to 200"),
    ("postmortem: {agenda: [1bd]}", "1:23: postmortem.agenda[0]: '1bd' counts business days, every hour counts here: such as 72h"),
    ("goals: {first-contact: 101}", "1:24: goals.first-contact: '101' is more than the whole target, 1 to 100"),
    ("goals: {satisfaction: 5.5}", "1:23: goals.satisfaction: '5.5' is not a score, from 0.0 to 5.0, such as 4.0"),
    ("retention: {deliveries: 3d}", "1:25: retention.deliveries: '3d' is too short: GitHub may send a delivery again within a week, from 7d, or off"),
    ("retention: {deliveries: 30bd}", "1:25: retention.deliveries: '30bd' counts business days, every hour counts here: such as 72h"),
    ("contacts: {commander: mona}", "1:23: contacts.commander: 'commander' is used for a contact and for a role, give each its own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), MISTAKES, ids=[text[:50] for text, _ in MISTAKES])
def test_one_mistake_one_answer(text: str, answer: str) -> None:
    assert single_error(text) == answer


NOT_PLAIN = [
    ("a: &a [*a]", "1:4: the file: the anchor '&a' is not read, write the value out where it is used"),
    ("a: *b", "1:4: the file: the alias '*b' is not read, write the value out"),
    ("a: !!int 5", "1:4: the file: the tag 'tag:yaml.org,2002:int' is not read, write the value without it"),
    ("<<: {a: b}", "1:1: the file: the merge key '<<' is not read, write the keys out"),
    ("? [a]\n: b", "1:3: the file: a key is a list or a map, a key is a word, such as extends"),
    ("a: b\n---\nc: d", "2:1: the file: a second document begins, a policy is one document"),
    ("- a", "1:1: the file: the file holds a list, a policy is a map, such as extends: guide"),
    ("policy", "1:1: the file: the file holds a text, a policy is a map, such as extends: guide"),
    ("a: b\nc: \x00", "2:4: the file: the character U+0000 is not allowed in YAML, take it out"),
    ('a: "\\0"', "1:4: the file: '\N{REPLACEMENT CHARACTER}' has the character U+0000, write plain text on one line"),
    ('a: "\\U00110000"', "1:7: the file: the file is not YAML: found invalid Unicode character escape code, write key: value, indented with spaces"),
    ("a: x\u202ey", "1:4: the file: 'x\N{REPLACEMENT CHARACTER}y' has the character U+202E, write plain text on one line"),
    ("a: b\n\tc: d", "2:1: the file: the file is not YAML: found a tab character that violates indentation, indent with spaces"),
    ("a: b: c", "1:5: the file: the file is not YAML: mapping values are not allowed here, write key: value, indented with spaces"),
    ("a: " + "[" * 21, "1:23: the file: the file is nested too deeply, at most 20 levels are read"),
    ("\n".join(" " * n + "a:" for n in range(25)), "21:21: the file: the file is nested too deeply, at most 20 levels are read"),
    ("#" * 65537, "1:1: the file: the file is too large, at most 64 KiB are read"),
    ("# " + "é" * 32768, "1:1: the file: the file is too large, at most 64 KiB are read"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:1", "1:1: the file: the file is a Git LFS pointer, store the policy itself in the repository"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), NOT_PLAIN, ids=[text[:30] for text, _ in NOT_PLAIN])
def test_what_is_not_plain_yaml_is_refused_at_once(text: str, answer: str) -> None:
    assert single_error(text) == answer


@pytest.mark.parametrize(
    "length", ["0", "1e999h", "1h30", "5 minutes", "59s", "5m; drop", "9" * 400 + "d", "-5m", "5M", "५m"]
)
@pytest.mark.parametrize(
    "place", ["severities:\n  sev1:\n    respond: {}\n", "escalation:\n  sev1:\n  - to: cto\n    after: {}\n"]
)
def test_a_length_that_is_none_names_its_line(length: str, place: str) -> None:
    answer = single_error(place.format(length))
    assert answer.startswith(f"{place.count(chr(10))}:")
    assert re.search(r"is not a duration, such as 15m|is out of range, from 1m to 365d", answer)


def test_every_fault_at_once_from_top_to_bottom() -> None:
    text = """
extends: guides
timezone: Berlin
severities:
  sev1: {respond: soon, reslove: 4h}
  sev1: {respond: 1h}
escalation:
  sev2:
    - {after: 5 minutes, to: nobody}
    - {to: cto}
labels: {paused: "a,b", resolved: "a,b"}
contacts: {on-call: [acme/sre, "@mona"]}
"""
    found = [answer.split(": ")[:2] for answer in policy_errors(text)]
    assert found == [
        ["2:10", "extends"],
        ["3:11", "timezone"],
        ["5:19", "severities.sev1.respond"],
        ["5:25", "severities.sev1.reslove"],
        ["6:3", "sev1"],
        ["9:15", "escalation.sev2[0].after"],
        ["9:30", "escalation.sev2[0].to"],
        ["10:7", "escalation.sev2[1]"],
        ["11:18", "labels.paused"],
        ["11:35", "labels.resolved"],
        ["12:22", "contacts.on-call[0]"],
        ["12:32", "contacts.on-call[1]"],
    ]


def test_a_contact_with_a_fault_is_still_a_contact() -> None:
    assert single_error("contacts: {sre: '@mona'}\nescalation: {sev4: [{after: 1h, to: sre}]}").startswith(
        "1:17: contacts.sre: "
    )


def test_a_fault_can_be_shown_as_it_is() -> None:
    with pytest.raises(PolicyFaults) as caught:
        read_policy("silence: two\nwarnings: [x]")
    assert caught.value.errors[0] == PolicyFault(
        ".github/incidents.yml", 1, 10, "silence", "'two' is not a number from 1", "such as 2"
    )
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.errors]


def test_a_hundred_faults_are_enough() -> None:
    assert len(policy_errors("\n".join(f"key{n}: x" for n in range(5000)))) == 100


def test_a_calendar_lists_at_most_400_days_off() -> None:
    days = ", ".join(str(date(2026, 1, 1) + timedelta(days=n)) for n in range(401))
    answer = single_error(f"calendars: {{business: {{holidays: [{days}]}}}}")
    assert answer == "1:34: calendars.business.holidays: 401 days off, at most 400 are read"
