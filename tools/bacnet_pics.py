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
# (BIBB of Annex K, what is executed for it, the tests that show it). A test sees that those tests exist.
BIBBS = (
    (
        "DS-RP-B", "ReadProperty",
        ("test_read_property_is_answered_as_in_annex_f", "test_bacpypes3_reads_each_property_of_each_object"),
    ),
    (
        "DS-RPM-B", "ReadPropertyMultiple, with ALL, REQUIRED and OPTIONAL",
        (
            "test_read_property_multiple_is_answered_as_in_annex_f",
            "test_all_is_required_and_optional_without_the_list_of_properties",
            "test_bacpypes3_reads_all_of_an_object_with_one_request",
        ),
    ),
    (
        "DS-WP-B",
        "WriteProperty: Object_Name, Description and Location of the Device, COV_Increment; where it is allowed",
        (
            "test_texts_of_the_device_are_written_and_kept",
            "test_the_increment_of_an_input_is_written_kept_and_used",
            "test_nothing_is_written_unless_it_is_allowed",
        ),
    ),
    (
        "DS-COV-B", "SubscribeCOV: 16 subscriptions, confirmed and unconfirmed notifications",
        (
            "test_sixteen_subscriptions_are_taken_and_the_next_refused",
            "test_bacpypes3_is_told_of_changes_as_long_as_its_subscription_lives",
        ),
    ),
    (
        "DM-DDB-B", "Who-Is, I-Am",
        (
            "test_who_is_is_answered_to_who_asks",
            "test_bacpypes3_finds_the_gateway_by_local_and_by_global_broadcast",
        ),
    ),
    (
        "DM-DOB-B", "Who-Has, I-Have",
        ("test_who_has_is_answered_for_an_object_and_for_a_name", "test_bacpypes3_finds_an_object_by_broadcast"),
    ),
    (
        "DM-DCC-B", "DeviceCommunicationControl, with a password",
        ("test_communication_is_switched_off_for_a_time_and_on_again", "test_without_the_password_nothing_happens"),
    ),
    (
        "DM-RD-B", "ReinitializeDevice, cold and warm start, with a password",
        ("test_the_device_restarts_for_who_knows_the_password", "test_without_the_password_nothing_happens"),
    ),
    (
        "DM-TS-B, DM-UTC-B", "TimeSynchronization, UTCTimeSynchronization; where they are allowed",
        ("test_the_clock_is_set_only_where_it_is_allowed",),
    ),
    (
        "GW-EO-B", "points of Modbus meters as objects of the Device",
        ("test_the_values_are_those_of_the_readings", "test_bac0_finds_the_gateway_and_reads_all_its_points"),
    ),
)  # fmt: skip


def rows(required, optional):
    """A table of properties."""
    lines = ["| number | property | conformance |", "|--:|---|---|"]
    for numbers, kind in ((required, "required"), (optional, "optional"), ((objects.PROPERTY_LIST,), "required")):
        lines += [f"| {number} | {PROPERTIES[number]} | {kind} |" for number in numbers]
    return lines


def pics() -> str:
    """The whole statement."""
    lines = ["| BIBB | services | shown by |", "|---|---|---|"]
    lines += [f"| {name} | {text} | {', '.join(f'`{test}`' for test in tests)} |" for name, text, tests in BIBBS]
    lines += [""]
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
