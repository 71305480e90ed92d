"""Files of customers and clerks: who may bring, see and remove them, and how they come back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2

from chassis.files import SHARDS, LocalFiles, new_key
from gateway.uploads import EVIDENCE_MAX_BYTES
from services.claims.evidence import Sweeper
from tests.claims.test_pictures import PDF, SECRET, exif, jpeg, png, segment
from tests.gateway.builders import ORIGIN, PASSWORD, Door, Json
from tests.gateway.test_claim_work import opened, told
from tests.gateway.test_inquiries import a_report, in_review, reported


async def send(
    door: Door, path: str, content: bytes, *, name: str = "mug.jpg", **headers: str
) -> httpx2.Response:
    """The file as the body, as a program or a page sends it."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return await door.client.post(
        path,
        params={"name": name},
        content=content,
        headers={"content-type": "image/jpeg", **named},
    )


async def a_case(shop: Door) -> tuple[Door, str]:
    """Ana, and where the files of what she reported are."""
    inquiry = await reported(shop)
    return await shop.customer("ana"), f"/store/claims/{inquiry['id']}/evidence"


def files(folder: Path) -> list[Path]:
    """What lies in the store."""
    return [path for path in (folder / "evidence").rglob("*") if path.is_file()]


async def test_a_photo_comes_back_as_an_attachment_without_what_the_camera_wrote(
    shop: Door, tmp_path: Path
) -> None:
    ana, path = await a_case(shop)
    answer = await send(ana, path, jpeg(segment(0xE1, exif())), name="žlička.html")
    assert answer.status_code == 200, answer.text
    evidence = answer.json()["evidence"]
    assert (evidence["name"], evidence["content_type"]) == ("žlička.jpg", "image/jpeg")
    fetched = await ana.get(f"{path}/{evidence['id']}")
    assert fetched.content == jpeg()
    assert fetched.headers["content-type"] == "image/jpeg"
    disposition = "attachment; filename*=UTF-8''%C5%BEli%C4%8Dka.jpg"
    assert fetched.headers["content-disposition"] == disposition
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert fetched.headers["content-security-policy"] == "default-src 'none'; sandbox"
    (kept,) = files(tmp_path)
    assert evidence["id"] not in kept.name
    assert SECRET not in kept.read_bytes()
    listed = (await ana.get(path.removesuffix("/evidence"))).json()["claim"]["evidence"]
    assert [each["id"] for each in listed] == [evidence["id"]]


async def test_what_is_no_photo_leaves_nothing_behind(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    for content, status, message in (
        (b"<script>alert(1)</script>", 400, "Send a PNG, JPEG or WebP picture, or a PDF document"),
        (jpeg()[:-2], 400, "The file begins like a picture but cannot be read as such"),
        (b"", 400, "The body is empty: send the file as the body"),
        (jpeg() + b"x" * EVIDENCE_MAX_BYTES, 413, "The body is too large."),
    ):
        assert told(await send(ana, path, content)) == (status, message)
    assert files(tmp_path) == []
    shown = (await ana.get(path.removesuffix("/evidence"))).json()["claim"]
    assert shown["evidence"] == []


async def test_the_same_key_keeps_one_file(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    first = await send(ana, path, jpeg(), idempotency_key="k")
    again = await send(ana, path, jpeg(), idempotency_key="k")
    assert first.content == again.content
    assert (await send(ana, path, png(), idempotency_key="k")).status_code == 422
    assert len(files(tmp_path)) == 1


async def test_more_files_than_memory_has_places_for_come_again_later(
    shop: Door, tmp_path: Path
) -> None:
    ana, path = await a_case(shop)
    places = shop.app.state.gate.uploads
    while not places.locked():
        await places.acquire()
    answer = await send(ana, path, png())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert files(tmp_path) == []
    places.release()
    assert (await send(ana, path, png())).status_code == 200


async def test_ten_files_are_enough(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    for _ in range(10):
        assert (await send(ana, path, png())).status_code == 200
    assert told(await send(ana, path, png())) == (
        400,
        "At most 10 files can be added to one case",
    )
    assert len(files(tmp_path)) == 10


async def test_another_customer_meets_nothing_of_it(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    evidence_id = (await send(ana, path, png())).json()["evidence"]["id"]
    ben = await shop.customer("ben")
    own = (
        await shop.post(
            "/admin/orders/order_ben/inquiries",
            {"claim_items": [{"item_id": "item_ben_mug", "quantity": 1, "reason": "other"}]},
        )
    ).json()["inquiry"]["id"]
    for where in (path, f"/store/claims/{own}/evidence"):
        assert (await ben.get(f"{where}/{evidence_id}")).status_code == 404
        assert (await ben.delete(f"{where}/{evidence_id}")).status_code == 404
    assert (await send(ben, path, png())).status_code == 404
    assert (await ben.get(f"/admin/evidence/{evidence_id}")).status_code == 401
    assert (await shop.as_().get(f"{path}/{evidence_id}")).status_code == 401
    assert (await ana.get(f"{path}/{evidence_id}")).status_code == 200
    assert len(files(tmp_path)) == 1


async def test_what_nobody_decided_can_be_removed_and_then_it_stays(
    shop: Door, tmp_path: Path
) -> None:
    inquiry_id = await in_review(shop)
    ana, path = await shop.customer("ana"), f"/store/claims/{inquiry_id}/evidence"
    first = (await send(ana, path, png())).json()["evidence"]["id"]
    second = (await send(ana, path, PDF)).json()["evidence"]["id"]
    clerks = (await send(shop, f"/admin/inquiries/{inquiry_id}/evidence", png())).json()
    # What the shop added is not the customer's to remove.
    assert (await ana.delete(f"{path}/{clerks['evidence']['id']}")).status_code == 404
    answer = await ana.delete(f"{path}/{first}")
    assert answer.json() == {"id": first, "object": "evidence", "deleted": True}
    assert (await ana.get(f"{path}/{first}")).status_code == 404
    assert len(files(tmp_path)) == 2
    approved = await shop.post(f"/admin/inquiries/{inquiry_id}/approve", {"type": "refund"})
    claim_id = approved.json()["inquiry"]["claim_id"]
    stays = (400, "The evidence of an inquiry that is approved stays as it is")
    assert told(await ana.delete(f"{path}/{second}")) == stays
    assert told(await shop.delete(f"/admin/evidence/{second}")) == stays
    assert told(await send(ana, path, png())) == stays
    listed = (await shop.get(f"/admin/claims/{claim_id}/evidence")).json()
    assert [each["id"] for each in listed["evidence"]] == [second, clerks["evidence"]["id"]]
    trail = (await shop.get(f"/admin/audit?about=evidence/{first}")).json()["audit"]
    assert [each["action"] for each in trail] == ["evidence.removed", "evidence.added"]


async def test_a_claim_has_files_of_its_own_until_it_is_closed(shop: Door) -> None:
    claim = await opened(shop)
    path = f"/admin/claims/{claim['id']}/evidence"
    warehouse = await shop.with_role("warehouse")
    evidence = (await send(warehouse, path, png(), name="seen.png")).json()["evidence"]
    fetched = await shop.get(f"/admin/evidence/{evidence['id']}")
    assert (fetched.status_code, fetched.content) == (200, png())
    assert (await warehouse.delete(f"/admin/evidence/{evidence['id']}")).status_code == 403
    await shop.post(f"/admin/claims/{claim['id']}/close")
    closed = (400, "Closed claim cannot be updated")
    assert told(await send(shop, path, png())) == closed
    assert told(await shop.delete(f"/admin/evidence/{evidence['id']}")) == closed
    assert (await shop.get(path)).json()["count"] == 1
    for missing in ("/admin/claims/claim_none/evidence", "/admin/evidence/evid_none"):
        assert (await shop.get(missing)).status_code == 404
    assert (await send(shop, "/admin/claims/claim_none/evidence", png())).status_code == 404


async def test_a_page_of_another_site_cannot_send_one_in_the_customers_name(shop: Door) -> None:
    """By a cookie, only what no form can send; the browser asks before it sends the rest."""
    inquiry = await reported(shop)
    login = {"email": "ana@shop.example", "password": PASSWORD}
    page = shop.as_()
    assert (await page.post("/store/auth", login, origin=ORIGIN)).status_code == 200
    path = f"/store/claims/{inquiry['id']}/evidence"
    own: Json = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    for named, status in (
        ({**own, "content-type": "image/jpeg"}, 200),
        ({**own, "content-type": "text/plain"}, 403),
        ({**own, "content-type": "multipart/form-data; boundary=x"}, 403),
        ({"origin": "https://evil.example", "content-type": "image/jpeg"}, 403),
    ):
        answer = await page.client.post(path, content=jpeg(), headers=named)
        assert answer.status_code == status, answer.text


async def test_what_a_crash_left_between_file_and_row_is_swept(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    known = (await send(ana, path, png())).json()["evidence"]["id"]
    store = LocalFiles(tmp_path / "evidence")
    old, young = new_key(), new_key()
    await store.write(old, png())
    await store.write(young, png())
    for file in files(tmp_path):
        if file.name != young:
            os.utime(file, (0, 0))
    sweeper = Sweeper(shop.embedded.services["claims"].database, store)
    for _ in range(SHARDS):
        await sweeper.step()
    left = {file.name for file in files(tmp_path)}
    assert old not in left
    assert young in left
    assert (await ana.get(f"{path}/{known}")).status_code == 200


async def test_events_tell_of_it_and_name_nobody(shop: Door, tmp_path: Path) -> None:
    ana, path = await a_case(shop)
    sent: Any = (await send(ana, path, png(), name="ana-novak.png")).json()["evidence"]
    database = shop.embedded.services["claims"].database
    async with database.reading() as tx:
        rows = await tx.fetch("SELECT payload FROM outbox WHERE aggregatetype = 'evidence'")
        trail = await tx.fetch("SELECT after FROM audit WHERE action = 'evidence.added'")
    (told_outside,) = [row["payload"] for row in rows]
    assert sent["id"] in told_outside
    assert "novak" not in told_outside + str(trail)
    assert a_report()["order_id"] in told_outside
