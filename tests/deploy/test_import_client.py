"""Files are loaded whole, refusals are named, passing trouble is waited out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy import online_retail
from deploy.gateway_client import GatewayRefused, GatewayUnreachable, auth_header
from deploy.import_client import FileUnreadable, Refusal, import_files
from tests.deploy.stand_in import StandIn, a_gateway

SLICE = Path(online_retail.__file__).parent / "demo" / "online_retail_slice.csv"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def a_document(orders: int, *, unknown_variant_in: int | None = None) -> dict[str, Any]:
    return {
        "orders": [
            {
                "id": f"order_{number}",
                "customer_id": "cus_1",
                "items": [
                    {
                        "id": f"item_{number}",
                        "variant_id": "no_such" if number == unknown_variant_in else "variant_1",
                        "quantity": 1,
                        "unit_price": 100,
                    }
                ],
            }
            for number in range(orders)
        ],
        "customers": [{"id": "cus_1", "email": "ana@reclamo.example"}],
        "variants": [{"id": "variant_1", "sku": "MUG"}],
    }


def a_file(tmp_path: Path, document: object) -> Path:
    file = tmp_path / "shop.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


async def load(gateway: StandIn, *files: Path, **more: Any) -> Any:
    return await import_files(gateway.url, gateway.token, files, progress=False, **more)


class TestOnlineRetail:
    async def test_loads_orders_with_everything_they_point_at(self) -> None:
        async with a_gateway() as gateway:
            summary = await load(gateway, SLICE, format="online-retail")
            assert summary.ok
            assert len(gateway.lists["orders"]) == 120
            assert len(gateway.lists["variants"]) == len(gateway.lists["inventory_levels"]) == 254
            assert summary.created == sum(summary.records.values())
            assert summary.skipped == {
                "unknown customer": 6,
                "service or correction": 1,
                "credit for a service": 2,
                "invoices with services only": 1,
            }

    async def test_loading_again_changes_nothing(self) -> None:
        async with a_gateway() as gateway:
            first = await load(gateway, SLICE, format="online-retail")
            again = await load(gateway, SLICE, format="online-retail")
            assert (again.created, again.updated, again.unchanged) == (0, 0, first.created)

    async def test_an_unreadable_row_is_listed_and_the_rest_is_loaded(self, tmp_path: Path) -> None:
        file = tmp_path / "rows.csv"
        rows = [
            HEADER,
            "1,22692,MAT,one,2010-12-01T08:26:00,1.00,1,EIRE",
            "2,22692,MAT,1,2010-12-01T08:26:00,1.00,1,EIRE",
        ]
        file.write_text("\n".join(rows), encoding="utf-8")
        async with a_gateway() as gateway:
            summary = await load(gateway, file, format="online-retail")
            assert not summary.ok
            reason = "Quantity 'one' is not a whole number"
            assert summary.refusals == [Refusal("rows.csv", "row 2", "1", "unreadable_row", reason)]
            assert list(gateway.lists["orders"]) == ["uci_2"]


class TestReclamoFormat:
    async def test_a_refused_order_is_named_by_its_place_in_the_file(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(230, unknown_variant_in=217))
        async with a_gateway() as gateway:
            summary = await load(gateway, file)
            assert (summary.refused, summary.ok) == (1, False)
            assert summary.refusals == [
                Refusal(
                    "shop.json",
                    "orders[217].items[0]",
                    "order_217",
                    "unknown_variant",
                    "No such variant",
                )
            ]
            assert len(gateway.lists["orders"]) == 229

    async def test_several_files_are_added_up(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(3))
        async with a_gateway() as gateway:
            summary = await load(gateway, file, file)
            assert (summary.created, summary.unchanged) == (5, 5)
            assert summary.records == {"variants": 2, "customers": 2, "orders": 6}
            assert json.loads(json.dumps(summary.to_json()))["files"] == [str(file), str(file)]

    @pytest.mark.parametrize("content", ["not json", "[]", '{"ordres": []}'])
    async def test_a_file_that_is_no_document_is_refused_unsent(
        self, tmp_path: Path, content: str
    ) -> None:
        file = tmp_path / "shop.json"
        file.write_text(content, encoding="utf-8")
        async with a_gateway() as gateway:
            with pytest.raises(FileUnreadable, match=r"shop\.json"):
                await load(gateway, file)
            assert gateway.calls.total() == 0

    async def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileUnreadable, match="No such file"):
            await import_files("http://127.0.0.1:1", None, [tmp_path / "none.json"], progress=False)


class TestTrouble:
    async def test_busy_answers_and_lost_connections_are_tried_again(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(150))
        async with a_gateway() as gateway:
            gateway.troubles["POST", "import"] = [503, "lost", 409, 429]
            summary = await load(gateway, file)
            assert summary.ok
            assert len(gateway.lists["orders"]) == 150
            assert gateway.calls["POST import"] == 4 + 4

    async def test_a_request_that_is_too_large_is_halved(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(90))
        async with a_gateway(body_bytes_max=2_000) as gateway:
            summary = await load(gateway, file)
            assert summary.ok
            assert len(gateway.lists["orders"]) == 90

    async def test_a_record_that_is_too_large_alone_is_refused_alone(self, tmp_path: Path) -> None:
        document = a_document(3)
        document["orders"][1]["metadata"] = {"note": "x" * 3_000}
        async with a_gateway(body_bytes_max=2_000) as gateway:
            summary = await load(gateway, a_file(tmp_path, document))
            assert [(r.path, r.id, r.message) for r in summary.refusals] == [
                ("orders[1]", "order_1", "Request body is too large")
            ]
            assert list(gateway.lists["orders"]) == ["order_0", "order_2"]

    async def test_a_broken_batch_does_not_stop_the_others(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(2))
        async with a_gateway() as gateway:
            gateway.troubles["POST", "import"] = [500]
            summary = await load(gateway, file)
            assert summary.refusals[0].path == "variants[0]"
            assert list(gateway.lists["customers"]) == ["cus_1"]

    async def test_a_wrong_token_stops_at_once(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(2))
        async with a_gateway() as gateway:
            with pytest.raises(GatewayRefused, match="Unauthorized"):
                await import_files(gateway.url, "wrong", [file], progress=False)
            assert gateway.lists["variants"] == {}

    async def test_a_gateway_that_stays_away_is_named(self, tmp_path: Path) -> None:
        file = a_file(tmp_path, a_document(2))
        async with a_gateway() as gateway:
            url = gateway.url
        with pytest.raises(GatewayUnreachable, match=url):
            await import_files(url, None, [file], progress=False, patience_s=0.2)

    async def test_progress_is_words_on_stderr_only(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with a_gateway() as gateway:
            file = a_file(tmp_path, a_document(2))
            await import_files(gateway.url, gateway.token, [file], progress=True)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Importing shop.json" in printed.err


def test_a_signed_token_goes_as_bearer_and_an_api_token_in_its_own_header() -> None:
    assert auth_header("eyJhbGciOi.eyJzdWIi.c2ln") == {
        "Authorization": "Bearer eyJhbGciOi.eyJzdWIi.c2ln"
    }
    assert auth_header("a-token") == {"x-medusa-access-token": "a-token"}
