import torch

from coset.nn.draws import Draws


def numbers(draws, n):
    return [torch.rand(1, generator=draws.next()).item() for _ in range(n)]


def test_equal_seeds_draw_equal_numbers_and_never_twice():
    first = numbers(Draws(5), 100)
    assert first == numbers(Draws(5), 100)
    assert len(set(first)) == 100
    assert first != numbers(Draws(6), 100)


def test_a_restored_stream_goes_on():
    draws = Draws(5)
    whole = numbers(draws, 20)
    half = Draws(5)
    numbers(half, 10)
    again = Draws()
    again.load_state_dict(half.state_dict())
    assert numbers(again, 10) == whole[10:]


def test_looking_does_not_advance():
    draws = Draws(5)
    assert torch.rand(1, generator=draws.next(advance=False)) == torch.rand(1, generator=draws.next())


def test_without_a_seed_it_takes_the_global_one():
    torch.manual_seed(3)
    first = numbers(Draws(), 3)
    torch.manual_seed(3)
    assert first == numbers(Draws(), 3)
    torch.manual_seed(4)
    assert first != numbers(Draws(), 3)
