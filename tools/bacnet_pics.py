"""The Protocol Implementation Conformance Statement (ASHRAE 135-2012, Annex A), as Markdown, from the tables of
firmware/services/bacnet: `python -m tools.bacnet_pics`. docs/reference/bacnet.md has it; a test compares.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "lib", ROOT / "host_tests" / "shim"):
    sys.path.insert(0, str(folder))

from firmware.services.bacnet import objects  # noqa: E402

# Clause 21, BACnetPropertyIdentifier: those of our objects
PROPERTIES = {
    10: "APDU_Segment_Timeout", 11: "APDU_Timeout", 12: "Application_Software_Version", 22: "COV_Increment",
    24: "Daylight_Savings_Status", 28: "Description", 30: "Device_Address_Binding", 36: "Event_State",
    44: "Firmware_Revision", 56: "Local_Date", 57: "Local_Time", 58: "Location", 62: "Max_APDU_Length_Accepted",
    70: "Model_Name", 73: "Number_Of_APDU_Retries", 75: "Object_Identifier", 76: "Object_List", 77: "Object_Name",
    79: "Object_Type", 81: "Out_Of_Service", 85: "Present_Value", 96: "Protocol_Object_Types_Supported",
    97: "Protocol_Services_Supported", 98: "Protocol_Version", 103: "Reliability", 107: "Segmentation_Supported",
    111: "Status_Flags", 112: "System_Status", 117: "Units", 119: "UTC_Offset", 120: "Vendor_Identifier",
    121: "Vendor_Name", 139: "Protocol_Revision", 152: "Active_COV_Subscriptions", 155: "Database_Revision",
    167: "Max_Segments_Accepted", 371: "Property_List", 372: "Serial_Number",
}  # fmt: skip
# BIBB (Annex K) and what is executed for it
BIBBS = (
    ("DS-RP-B", "ReadProperty"),
    ("DS-RPM-B", "ReadPropertyMultiple, with ALL, REQUIRED and OPTIONAL"),
    (
        "DS-WP-B",
        "WriteProperty: Object_Name, Description and Location of the Device, COV_Increment; where it is allowed",
    ),
    ("DS-COV-B", "SubscribeCOV: 16 subscriptions, confirmed and unconfirmed notifications"),
    ("DM-DDB-B", "Who-Is, I-Am"),
    ("DM-DOB-B", "Who-Has, I-Have"),
    ("DM-DCC-B", "DeviceCommunicationControl, with a password"),
    ("DM-RD-B", "ReinitializeDevice, cold and warm start, with a password"),
    ("DM-TS-B, DM-UTC-B", "TimeSynchronization, UTCTimeSynchronization; where they are allowed"),
    ("GW-EO-B", "points of Modbus meters as objects of the Device"),
)


def rows(required, optional):
    """A table of properties."""
    lines = ["| number | property | conformance |", "|--:|---|---|"]
    for numbers, kind in ((required, "required"), (optional, "optional"), ((objects.PROPERTY_LIST,), "required")):
        lines += [f"| {number} | {PROPERTIES[number]} | {kind} |" for number in numbers]
    return lines


def pics() -> str:
    """The whole statement."""
    lines = ["| BIBB | services |", "|---|---|", *(f"| {name} | {text} |" for name, text in BIBBS), ""]
    lines += [
        "| | |",
        "|---|---|",
        "| Data link | BACnet/IP (Annex J); not a BBMD |",
        "| Protocol_Version, Protocol_Revision | 1, 14 |",
        f"| Max_APDU_Length_Accepted | {objects.APDU_MAX} |",
        "| Segmentation | segmented answers, at most 8 segments in windows of at most 4; no segmented requests |",
        f"| APDU timeout, retries | {objects.APDU_TIMEOUT_MS} ms, {objects.APDU_RETRIES} |",
        "| Character set | UTF-8 |",
        "| Objects that a client can create or delete | none |",
        "",
        f"Device (object type {objects.DEVICE}):",
        "",
        *rows(objects._DEVICE_REQUIRED, objects._DEVICE_OPTIONAL),
        "",
        f"Analog Input ({objects.ANALOG_INPUT}) and Large Analog Value ({objects.LARGE_ANALOG_VALUE}):",
        "",
        *rows(objects._POINT_REQUIRED, objects._POINT_OPTIONAL),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(pics())
