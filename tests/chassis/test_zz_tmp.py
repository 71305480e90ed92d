import pytest
from pathlib import Path
@pytest.mark.parametrize("n", range(4))
async def test_service_db(make_database, n):
    for s in ("orders","claims","returns","inventory"):
        if not list(Path(f"/work/main/services/{s}/migrations").glob("0*.py")): continue
        d = await make_database(s)
        async with d.reading() as tx:
            assert (await tx.fetch("SELECT version_num FROM alembic_version"))
