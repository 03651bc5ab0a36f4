"""The page of make web-installer in Chromium: its button flashes a chip.

The page's serial port is a WebSocket that leads to the boot loader of the tests, which stands for chip and USB bridge:
navigator.serial of a browser without windows asks nobody which port to take.
"""

import contextlib
import functools
import http.server
import threading

import pytest

from host_tests import esp_image
from host_tests.esp_boot_loader import BootRom
from tools import image as images
from tools.device import esp32, web_installer

BOARD = "ws://board/"
SERIAL = """
class Port extends EventTarget {
  async open() {
    this.socket = new WebSocket("ws://board/");
    this.socket.binaryType = "arraybuffer";
    await new Promise(resolve => { this.socket.onopen = resolve; });
    this.readable = new ReadableStream({
      start: reading => {
        this.socket.onmessage = message => reading.enqueue(new Uint8Array(message.data));
      },
    });
    this.writable = new WritableStream({ write: data => this.socket.send(data) });
  }
  async close() {
    this.readable = this.writable = null;
    this.socket.close();
  }
  async setSignals(signals) {
    if (signals.requestToSend) this.socket.send("reset");
  }
  async getSignals() { return {}; }
  getInfo() { return { usbVendorId: 0x10c4, usbProductId: 0xea60 }; }  // a CP2102
}
const port = new Port();
Object.defineProperty(navigator, "serial", { value: { requestPort: async () => port, getPorts: async () => [port] } });
"""
ESP32_S3 = 9  # as the header of an image says it
INSTALLED_MS = 90_000  # 20 s of them the page waits for Improv of the new firmware

pytestmark = pytest.mark.timeout(300)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def image(request, tmp_path):
    """For an ESP32, or for the chip whose id is the fixture's parameter."""
    path = tmp_path / "meterport-METERPORT_ESP32-0.1.0.bin"
    chip_id = getattr(request, "param", 0)
    path.write_bytes(
        esp_image.make(chip_id, images.partitions("METERPORT_ESP32"), offset=esp32.OFFSETS[esp32.CHIP_IDS[chip_id]])
    )
    return path


@pytest.fixture
def address(image, tmp_path):
    """Where the folder of make web-installer is served."""
    folder = tmp_path / "web"
    web_installer.write([image], folder, say=lambda text: None)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser):
    with contextlib.closing(browser.new_page()) as made:
        made.add_init_script(SERIAL)
        yield made


def plug_in(page):
    """Connects the page's port to an ESP32; the chip."""
    rom = BootRom(None)

    def connect(socket):
        def receive(message):
            if isinstance(message, str):
                rom.reset()
            else:
                rom.receive(message)

        rom._send = socket.send
        socket.on_message(receive)

    page.route_web_socket(BOARD, connect)
    return rom


def install(page, address):
    """Goes the whole way with the page's buttons; what it says at the end."""
    page.goto(address)
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Install meterport").click()
    page.locator("ew-checkbox").click()  # erase the device
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Install").click()
    message = page.locator("ewt-page-message")
    message.wait_for(timeout=INSTALLED_MS)
    return message.evaluate("element => element.label")


def test_the_button_flashes_the_image_whole(page, address, image):
    rom = plug_in(page)
    assert install(page, address) == "Installation complete!"
    content = image.read_bytes()
    begin, end = esp_image.OFFSET, esp_image.OFFSET + len(content)
    assert rom.flash[begin:end] == content
    assert rom.erased_whole == 1
    assert set(rom.flash[:begin] + rom.flash[end:]) == {0xFF}


@pytest.mark.parametrize("image", [ESP32_S3], indirect=True)
def test_another_chip_is_refused_and_nothing_is_written(page, address):
    rom = plug_in(page)
    assert install(page, address) == "Your ESP32 board is not supported."
    assert (rom.blocks, rom.erased_whole, set(rom.flash)) == (0, 0, {0x5A})
