"""The page in a real browser."""

import re
from pathlib import Path
from threading import Semaphore
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from ragnarok.errors import BadQuery
from tests.service.conftest import Serve
from tests.service.fakes import EVIL, SENTENCES, Reciter, Shelf, a_pipeline

pytestmark = pytest.mark.browser

CONTRAST = Path(__file__).with_name("contrast.js").read_text()


def done(page: Page) -> None:
    """Wait for the end of the answer."""
    expect(page.get_by_role("status")).to_contain_text("Done in", timeout=10_000)


def test_asking_by_keyboard_only(page: Page, serve: Serve) -> None:
    shelf = Shelf()
    page.goto(serve(a_pipeline(shelf)))
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("How do I sort?")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("By key.")
    page.keyboard.press("Enter")
    done(page)
    assert shelf.asked == ["How do I sort? By key."]
    assert page.title() == "How do I sort?\nBy key. · Ragnarok".replace("\n", " ")
    for _ in range(3):  # from the question over the button to the first citation
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "chip":
            break
    expect(page.locator(".chip").first).to_be_focused()
    expect(page.locator(".passage", has_text="Signs 🎈")).to_have_class(re.compile("lit"))
    page.keyboard.press("Enter")
    expect(page.locator(".passage", has_text="Signs 🎈")).to_be_focused()


def test_where_the_list_is_far_away_a_citation_opens_its_passage(browser: Browser, serve: Serve) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    tab = context.new_page()
    tab.goto(f"{serve(a_pipeline())}/?q=how")
    done(tab)
    tab.get_by_role("button", name="Citation 1: Signs 🎈").tap()
    dialog = tab.get_by_role("dialog", name="Citation 1")
    expect(dialog).to_be_visible()
    expect(dialog.locator("mark")).to_have_text(["Emoji", "key"])
    expect(dialog).to_contain_text("moved down from rank 2 to 6")
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tab.get_by_role("button", name="Citation 1: Signs 🎈")).to_be_focused()
    tab.get_by_role("button", name="Citation 3").tap()
    expect(dialog).to_be_hidden()
    other = tab.get_by_role("dialog", name="Citation 3")
    expect(other).to_contain_text(EVIL)
    other.get_by_role("button", name="Close").tap()
    expect(other).to_be_hidden()
    assert tab.title() == "how · Ragnarok"
    context.close()


def test_sentences_appear_one_by_one(page: Page, serve: Serve) -> None:
    steps = Semaphore(0)
    page.goto(f"{serve(a_pipeline(reciter=Reciter(steps)))}/?q=how")
    expect(page.locator("[data-stage=rerank]")).to_have_class("past")
    expect(page.locator("[data-stage=answer]")).to_have_class("running")
    expect(page.locator(".passage h3").first).to_have_text("Last")
    for number, sentence in enumerate(SENTENCES, start=1):
        expect(page.locator(".sentence")).to_have_count(number - 1)
        steps.release()
        expect(page.locator(".sentence")).to_have_count(number)
        expect(page.locator(".sentence").last).to_contain_text(sentence.text)
        if number < len(SENTENCES):
            expect(page.get_by_role("button", name="Stop")).to_be_visible()
    done(page)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator(".notes")).to_have_text("one citation was dropped")
    assert page.locator(".said").get_attribute("aria-live") == "polite"
    for time in page.locator(".stages time").all():
        expect(time).to_have_text(re.compile(r"^\d+(\.\d)? m?s$"))


def test_chips_lead_to_their_passages(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(a_pipeline())}/?q=how")
    done(page)
    chips = page.locator(".chip")
    expect(chips).to_have_text(["1", "2", "2", "3"])
    last = page.locator(".passage", has_text="The last of all.")
    expect(last).not_to_have_class(re.compile("lit"))
    expect(last.locator(".number")).to_have_text("cited as 2")
    chips.nth(1).hover()
    expect(last).to_have_class(re.compile("lit"))
    page.mouse.move(0, 0)
    expect(last).not_to_have_class(re.compile("lit"))
    page.get_by_role("button", name="Citation 1: Signs 🎈").click()
    expect(page.locator(".passage", has_text="Signs 🎈")).to_be_focused()
    expect(page.locator(".passage", has_text="Signs 🎈")).to_be_in_viewport()
    last.hover()
    expect(chips.nth(2)).to_have_class(re.compile("lit"))


def test_evidence_tells_ranks_scores_and_attention(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(a_pipeline())}/?q=how")
    done(page)
    first = page.locator(".passage").first
    expect(first.locator(".move")).to_have_text("7 → 1 ▲moved up from rank 7 to 1")
    expect(first.locator(".facts")).to_have_text("score0.07first stage3idlib#last")
    signs = page.locator(".passage", has_text="Signs 🎈")
    expect(signs.locator(".move")).to_contain_text("2 → 6 ▼")
    expect(signs.locator("mark")).to_have_text(["Emoji", "key"])
    colours = signs.locator("mark").evaluate_all(
        "marks => marks.map(mark => getComputedStyle(mark).backgroundColor)"
    )
    weak, strong = (float(colour.rstrip(")").replace("/", ",").split(",")[-1]) for colour in colours)
    assert 0 < weak < strong < 1
    expect(page.locator(".passage", has_text="without a title").locator("h3")).to_have_text("lib#bare")
    expect(page.locator(".passage", has_text="without a title").locator(".move")).to_contain_text("4 → 4 =")
    expect(page.locator(".passage", has_text="without a title").locator(".facts")).to_contain_text(
        "its beginning only"
    )


def test_what_is_neither_cited_nor_among_the_best_waits_behind_a_button(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(a_pipeline())}/?q=how")
    done(page)
    expect(page.locator(".passage:visible")).to_have_count(6)  # five, and one that is cited
    page.get_by_role("button", name="Show 1 more").click()
    expect(page.locator(".passage:visible")).to_have_count(7)
    expect(page.locator(".passage").last).to_be_focused()
    bare = page.locator(".passage", has_text="without a title")
    height = bare.bounding_box()
    bare.get_by_role("button", name="Show all of it").click()
    opened = bare.bounding_box()
    assert height is not None
    assert opened is not None
    assert opened["height"] > height["height"] + 50


def test_passages_are_text_and_never_markup(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(a_pipeline())}/?q={EVIL}")
    done(page)
    page.get_by_role("button", name="Show 1 more").click()
    expect(page.locator(".passage", has_text="and more")).to_contain_text(EVIL)
    expect(page.locator(".said")).to_contain_text(EVIL)
    assert page.locator("main img, main script").count() == 0
    assert page.title() == f"{EVIL} · Ragnarok"
    links = page.locator(".passage a").evaluate_all("links => links.map(link => link.href)")
    assert sorted(links) == ["http://docs.test/evil", "https://docs.test/sort"]


def test_the_policy_stops_what_the_page_would_not_do(browser: Browser, serve: Serve) -> None:
    page = browser.new_page()
    page.goto(serve(a_pipeline()))
    stopped = page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })"""
    )
    assert stopped == "script-src-elem"
    assert page.title() != "owned"
    page.close()


def test_errors_are_shown_and_the_next_question_clears_them(page: Page, serve: Serve) -> None:
    shelf = Shelf(error=BadQuery("the passage store is upside down; turn it"))
    page.goto(f"{serve(a_pipeline(shelf))}/?q=how")
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    expect(alert).to_contain_text("The question cannot be used")
    expect(alert).to_contain_text("the passage store is upside down; turn it")
    shelf.error = None
    page.get_by_role("button", name="Ask").click()
    done(page)
    expect(alert).to_be_hidden()


def test_an_error_in_mid_answer_keeps_what_was_said(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(a_pipeline(reciter=Reciter(error=RuntimeError('secret'))))}/?q=how")
    expect(page.get_by_role("alert")).to_contain_text("Something went wrong here")
    expect(page.locator(".sentence")).to_have_count(1)
    expect(page.locator("body")).not_to_contain_text("secret")


def test_a_service_that_is_gone_is_said_to_be_gone(page: Page, serve: Serve) -> None:
    page.goto(serve(a_pipeline()))
    page.route("**/v1/query", lambda route: route.abort())
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("how")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")


def test_stopping_ends_the_work(page: Page, serve: Serve) -> None:
    steps = Semaphore(1)
    reciter = Reciter(steps)
    page.goto(f"{serve(a_pipeline(reciter=reciter))}/?q=how")
    expect(page.locator(".sentence")).to_have_count(1)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.wait_for_timeout(300)
    steps.release()
    assert reciter.closed.wait(10)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_questions_are_in_the_address_and_back_goes_back(page: Page, serve: Serve) -> None:
    shelf = Shelf()
    address = serve(a_pipeline(shelf))
    page.goto(address)
    expect(page.get_by_label("Your question")).to_be_focused()
    for query in ("first & last?", "second"):
        page.get_by_label("Your question").fill(query)
        page.get_by_role("button", name="Ask").click()
        expect(page).to_have_title(f"{query} · Ragnarok")
        done(page)
    page.go_back()
    expect(page.get_by_label("Your question")).to_have_value("first & last?")
    expect(page).to_have_title("first & last? · Ragnarok")
    done(page)
    page.reload()
    expect(page.get_by_label("Your question")).to_have_value("first & last?")
    done(page)
    page.go_back()
    expect(page.locator("#outcome")).to_be_hidden()
    assert shelf.asked == ["first & last?", "second", "first & last?", "first & last?"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_sticks_out_and_all_text_can_be_read(
    browser: Browser, serve: Serve, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 740}, color_scheme=scheme, reduced_motion="reduce"
    )
    tab = context.new_page()
    tab.goto(f"{serve(a_pipeline())}/?q={'long ' * 40}")
    done(tab)
    tab.get_by_role("button", name="Show 1 more").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(CONTRAST) == []
    context.close()
