"""Notes through the door: Medusa's cases (M135), who may, and what is no note."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.builders import PASSWORD, Door, Json

NOTE = {"resource_id": "resource1", "resource_type": "type", "value": "my note"}


async def _write(door: Door, **more: Any) -> Json:
    answer = await door.post("/admin/notes", {**NOTE, **more})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["note"]
    return found


class TestMedusasCases:
    async def test_creates_a_note(self, door: Door) -> None:
        note = await _write(door)
        assert note["id"].startswith("note_")
        assert {name: note[name] for name in (*NOTE, "author_id", "metadata", "deleted_at")} == {
            **NOTE,
            "author_id": "admin_user",
            "metadata": {},
            "deleted_at": None,
        }

    async def test_lists_the_notes_of_one_resource(self, door: Door) -> None:
        for number in (1, 1, 2):
            await _write(door, resource_id=f"resource{number}")
        page = (await door.get("/admin/notes?resource_id=resource1")).json()
        assert (len(page["notes"]), page["count"], page["offset"], page["limit"]) == (2, 2, 0, 50)
        assert {note["resource_id"] for note in page["notes"]} == {"resource1"}

    async def test_pages(self, door: Door) -> None:
        for number in range(3):
            await _write(door, value=f"note {number}")
        page = (await door.get("/admin/notes?limit=2")).json()
        assert ([note["value"] for note in page["notes"]], page["count"]) == (
            ["note 2", "note 1"],
            3,
        )
        # The stock client asks a list without a query with a slash.
        assert (await door.get("/admin/notes/")).json()["count"] == 3

    async def test_updates_a_note(self, door: Door) -> None:
        note = await _write(door)
        answer = await door.post(f"/admin/notes/{note['id']}", {"value": "new text"})
        assert answer.status_code == 200
        assert answer.json()["note"]["value"] == "new text"
        assert answer.json()["note"]["author"]["id"] == "admin_user"

    async def test_deletes_a_note(self, door: Door) -> None:
        note = await _write(door)
        path = f"/admin/notes/{note['id']}"
        gone = {"id": note["id"], "object": "note", "deleted": True}
        assert (await door.delete(path)).json() == gone
        for answer in (await door.get(path), await door.delete(path)):
            assert answer.status_code == 404
            message = f"Note with id: {note['id']} was not found."
            assert answer.json() == {"type": "not_found", "message": message}

    async def test_gets_a_note_with_its_author(self, door: Door) -> None:
        login = await door.user("agent")
        token = (await door.as_().post("/admin/auth/token", login)).json()["access_token"]
        agent = door.as_(authorization=f"Bearer {token}")
        note = await _write(agent)
        author = (await door.get(f"/admin/notes/{note['id']}")).json()["note"]["author"]
        assert (author["id"], author["email"]) == (note["author_id"], "agent@shop.example")
        assert PASSWORD not in str(author)
        assert "password_hash" not in author
        await door.delete(f"/admin/users/{note['author_id']}")
        left = (await door.get("/admin/notes")).json()["notes"][0]["author"]
        assert left == {"id": note["author_id"], "email": None, "role": None, "created_at": None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {},
            "resource_id should not be empty, resource_id must be a string,"
            " resource_type should not be empty, resource_type must be a string,"
            " value should not be empty, value must be a string",
        ),
        ({**NOTE, "value": 3}, "value must be a string"),
        ({**NOTE, "author_id": "x"}, "property author_id should not exist"),
        ({**NOTE, "metadata": {}}, "property metadata should not exist"),
        (
            {**NOTE, "value": "x" * 10_001},
            "value must be shorter than or equal to 10000 characters",
        ),
    ],
)
async def test_what_is_no_note_is_refused_and_nothing_is_written(
    door: Door, body: Json, message: str
) -> None:
    answer = await door.post("/admin/notes", body)
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data")
    assert answer.json()["message"] == message
    assert (await door.get("/admin/notes")).json()["count"] == 0


async def test_a_repeat_with_its_key_writes_no_second_note(door: Door) -> None:
    first = await door.post("/admin/notes", NOTE, key="note-1")
    again = await door.post("/admin/notes", NOTE, key="note-1")
    assert first.content == again.content
    assert (await door.get("/admin/notes")).json()["count"] == 1
    other = await door.post("/admin/notes", {**NOTE, "value": "other"}, key="note-1")
    assert other.status_code == 422


async def test_operators_read_notes_and_write_none(door: Door) -> None:
    note = await _write(door)
    ops = await door.with_role("ops")
    assert (await ops.get(f"/admin/notes/{note['id']}")).status_code == 200
    assert (await ops.post("/admin/notes", NOTE)).status_code == 403
    assert (await ops.delete(f"/admin/notes/{note['id']}")).status_code == 403


async def test_who_wrote_changed_and_removed_a_note_is_in_the_audit_trail(door: Door) -> None:
    note = await _write(door)
    await door.post(f"/admin/notes/{note['id']}", {"value": "new"})
    await door.delete(f"/admin/notes/{note['id']}")
    rows = (await door.get(f"/admin/audit?about=note/{note['id']}")).json()["audit"]
    assert [(row["action"], row["actor_id"]) for row in reversed(rows)] == [
        ("note.created", "admin_user"),
        ("note.updated", "admin_user"),
        ("note.deleted", "admin_user"),
    ]
