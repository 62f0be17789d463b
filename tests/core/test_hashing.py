from sparrow.core.hashing import content_hash, hash_order


def ranked(ids, seed):
    return [ids[i] for i in hash_order(ids, seed)]


def test_order_is_a_function_of_seed_and_id_alone():
    ids = [f"s{i}" for i in range(200)]
    assert ranked(ids, 0) == ranked(ids[::-1], 0)
    assert ranked(ids, 0) != ranked(ids, 1)


def test_adding_ids_changes_nothing_between_the_others():
    ids = [f"s{i}" for i in range(200)]
    more = ids + [f"t{i}" for i in range(50)]
    assert [i for i in ranked(more, 3) if i.startswith("s")] == ranked(ids, 3)


def test_content_hash_ignores_the_order_of_keys():
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
